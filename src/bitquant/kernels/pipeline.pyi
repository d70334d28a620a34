from typing import Any, TypeAlias

from numpy.typing import NDArray

from bitquant.kernels.stage import Stage

# invalid, overflow, underflow, inexact, NaN refused, range refused, index of the first refused or -1, is that one NaN
Counts: TypeAlias = tuple[int, int, int, int, int, int, int, bool]

class Pipeline:
    stages: tuple[Stage, ...]
    counted: bool
    def __init__(self, stages: tuple[Stage, ...], reporting: int = -1, counted: bool = False) -> None: ...
    def run(
        self,
        source: NDArray[Any],
        target: NDArray[Any],
        mask: NDArray[Any] | None = None,
        start: int = 0,
        stop: int = -1,
        random: NDArray[Any] | None = None,
        index: int = 0,
    ) -> Counts | None: ...
