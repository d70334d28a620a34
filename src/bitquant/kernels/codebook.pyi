from typing import Any

from numpy.typing import NDArray

from bitquant.kernels.stage import Stage

class ToCodebook(Stage):
    def __init__(
        self, thresholds: NDArray[Any], levels: NDArray[Any], whole: bool, counted: bool, **numbers: int
    ) -> None: ...
