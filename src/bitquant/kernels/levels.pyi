from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.kernels.blocking import Blocks
from bitquant.kernels.narrow import Narrow

def multiples(numbers: dict[str, NDArray[Any]], steps: NDArray[Any], target: Narrow, codes: NDArray[Any]) -> None: ...
def are_products(
    table: NDArray[np.uint32], steps: NDArray[np.float64], zero_points: NDArray[np.int32], signed: bool
) -> bool: ...
def products(
    source: NDArray[Any],
    target: NDArray[np.float32],
    steps: NDArray[np.float64],
    zero_points: NDArray[np.int32],
    signed: bool,
    blocks: Blocks,
    place: int = 0,
) -> bool: ...
def look_up(
    source: NDArray[Any], target: NDArray[Any], table: NDArray[Any], blocks: Blocks, place: int = 0
) -> None: ...
def values(
    source: NDArray[Any],
    target: NDArray[Any],
    numbers: dict[str, NDArray[Any]],
    signed: bool,
    blocks: Blocks,
    row: Narrow,
    place: int = 0,
) -> None: ...
