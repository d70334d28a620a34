from typing import Any

from numpy.typing import NDArray

Numbers = dict[str, NDArray[Any]]

def of_ranges(
    low: NDArray[Any],
    high: NDArray[Any],
    symmetric: bool,
    least: int,
    most: int,
    include_zero: bool,
    numbers: Numbers,
    wide: NDArray[Any],
) -> int: ...
def zero_points(low: NDArray[Any], high: NDArray[Any], least: int, numbers: Numbers, found: NDArray[Any]) -> None: ...
def of_numbers(given: NDArray[Any], inverse: bool, numbers: Numbers) -> int: ...
