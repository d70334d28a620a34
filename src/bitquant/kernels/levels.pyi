from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.kernels.blocking import Blocks
from bitquant.kernels.narrow import Narrow

def multiples(numbers: dict[str, NDArray[Any]], steps: NDArray[Any], target: Narrow, codes: NDArray[Any]) -> None: ...
def are_products(
    table: NDArray[np.uint32], steps: NDArray[np.float64], zero_points: NDArray[np.int32], signed: bool
) -> bool: ...

class WayBack:
    blocks: Blocks
    word: int
    def __call__(self, source: NDArray[Any], target: NDArray[Any], place: int = 0) -> None: ...

class EachValue(WayBack):
    def __init__(
        self, numbers: dict[str, NDArray[Any]], signed: bool, blocks: Blocks, row: Narrow, word: int
    ) -> None: ...

class Table(WayBack):
    def __init__(self, table: NDArray[Any], blocks: Blocks) -> None: ...

class Products(Table):
    def __init__(
        self,
        table: NDArray[np.uint32],
        blocks: Blocks,
        steps: NDArray[np.float64],
        zero_points: NDArray[np.int32],
        signed: bool,
    ) -> None: ...
