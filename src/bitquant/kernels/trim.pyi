from bitquant.kernels.stage import Stage

class Trim(Stage):
    def __init__(self, size: int, bits: int, away: bool) -> None: ...
