import numpy as np
from numpy.typing import NDArray

class Magnitudes:
    keys: NDArray[np.uint32] | NDArray[np.uint64]
    weights: NDArray[np.uint64] | None
    moment: float
    mass: float
    size: int
    def __init__(
        self, keys: NDArray[np.uint32] | NDArray[np.uint64], weights: NDArray[np.uint64] | None, shift: int
    ) -> None: ...
    def evaluate(
        self, step: float, thresholds: NDArray[np.float64], rises: NDArray[np.float64], squares: NDArray[np.float64]
    ) -> tuple[float, float, int]: ...
    def between(
        self,
        start: float,
        stop: float,
        thresholds: NDArray[np.float64],
        rises: NDArray[np.float64],
        squares: NDArray[np.float64],
    ) -> NDArray[np.float64]: ...
    def counts(self, step: float, thresholds: NDArray[np.float64]) -> NDArray[np.int64]: ...
    def totals(self, cuts: NDArray[np.int64], squares: bool) -> list[tuple[int, int, int]]: ...

def minima(
    steps: NDArray[np.float64],
    a_rises: NDArray[np.float64],
    b_rises: NDArray[np.float64],
    a: float,
    b: float,
    start: float,
    stop: float,
    negative: float,
) -> NDArray[np.float64]: ...
