from typing import Any

from numpy.typing import NDArray

from bitquant.kernels.stage import Stage

class Affine:
    numbers: dict[str, NDArray[Any]]
    channels: int
    def __init__(
        self, word: int, widen: Stage | None, mode: int, low: int, high: int, numbers: dict[str, NDArray[Any]]
    ) -> None: ...
    def run(
        self, source: NDArray[Any], target: NDArray[Any], inner: int, start: int = 0, stop: int = -1
    ) -> tuple[int, int]: ...
