from typing import Any

from numpy.typing import NDArray

from bitquant.kernels.narrow import Narrow

def fill(
    numerator: NDArray[Any],
    denominator: NDArray[Any],
    exponent: NDArray[Any],
    zero_point: NDArray[Any],
    signed: bool,
    target: Narrow,
    table: NDArray[Any],
) -> None: ...
def look_up(source: NDArray[Any], target: NDArray[Any], table: NDArray[Any], inner: int, place: int = 0) -> None: ...
