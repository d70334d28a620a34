from typing import Any

import numpy as np
from numpy.typing import NDArray

def has_byte_products() -> bool: ...
def pack(source: NDArray[Any], target: NDArray[Any], flip: bool = False) -> None: ...
def product(
    a: NDArray[Any],
    b: NDArray[Any],
    out: NDArray[Any],
    a_point: NDArray[np.int64],
    a_rest: NDArray[np.int64],
    b_point: NDArray[np.int64],
    b_sum: NDArray[np.int64],
    saturate: bool,
    row: int,
    stop: int,
    first: int,
    last: int,
) -> tuple[int, int]: ...
def rescale(
    source: NDArray[np.int32],
    target: NDArray[Any],
    table: NDArray[np.int64],
    inner: int,
    low: int,
    high: int,
    start: int,
    stop: int,
) -> int: ...
