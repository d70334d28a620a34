from typing import Any

from bitquant.kernels.stage import Stage

class ToInteger(Stage):
    def __init__(self, source_size: int, target_size: int, **numbers: Any) -> None: ...
