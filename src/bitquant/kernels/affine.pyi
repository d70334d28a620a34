from typing import Any

from numpy.typing import NDArray

from bitquant.kernels.blocking import Blocks
from bitquant.kernels.stage import Stage

class Affine:
    numbers: dict[str, NDArray[Any]]
    def __init__(
        self,
        word: int,
        widen: Stage | None,
        mode: int,
        low: int,
        high: int,
        numbers: dict[str, NDArray[Any]],
        blocks: Blocks,
    ) -> None: ...
    def run(self, source: NDArray[Any], target: NDArray[Any], start: int = 0, stop: int = -1) -> tuple[int, int]: ...
