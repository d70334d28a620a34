class Stage:
    source_size: int
    target_size: int
