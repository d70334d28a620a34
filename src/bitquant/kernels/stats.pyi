from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.kernels.blocking import Blocks
from bitquant.kernels.levels import WayBack
from bitquant.kernels.stage import Stage

def extremes(
    source: NDArray[Any],
    widen: Stage | None,
    word: int,
    blocks: Blocks,
    low: NDArray[Any],
    high: NDArray[Any],
    finite: bool = False,
) -> None: ...
def firsts(
    source: NDArray[Any], widen: Stage | None, word: int, blocks: Blocks, sought: NDArray[Any], found: NDArray[Any]
) -> None: ...
def compared(
    x: NDArray[Any],
    widen_x: Stage | None,
    y: NDArray[Any],
    back: WayBack | None,
    widen_y: Stage | None,
    blocks: Blocks,
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    place: int,
) -> tuple[float, float, float, float, float, int]: ...
def error_sums(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float, float, float, float]: ...
