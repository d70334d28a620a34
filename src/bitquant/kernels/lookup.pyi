from typing import Any

from numpy.typing import NDArray

from bitquant.kernels.stage import Stage

class Lookup(Stage):
    def __init__(self, source_size: int, table: NDArray[Any]) -> None: ...
