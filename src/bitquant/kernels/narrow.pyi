from typing import Any

from bitquant.kernels.stage import Stage

class Narrow(Stage):
    def __init__(self, source_size: int, target_size: int, **numbers: Any) -> None: ...
