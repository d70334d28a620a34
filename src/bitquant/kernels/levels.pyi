from typing import Any

from numpy.typing import NDArray

from bitquant.kernels.blocking import Blocks
from bitquant.kernels.narrow import Narrow

def multiples(numbers: dict[str, NDArray[Any]], steps: NDArray[Any], target: Narrow, codes: NDArray[Any]) -> None: ...
def fill(numbers: dict[str, NDArray[Any]], signed: bool, target: Narrow, table: NDArray[Any]) -> None: ...
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
