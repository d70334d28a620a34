from bitquant.kernels.stage import Stage

class Shrink(Stage):
    def __init__(self, source_size: int, target_size: int, offset: int = ...) -> None: ...
