from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from bitquant.kernels.blocking import Blocks
from bitquant.kernels.stage import Stage

OPERATIONS: dict[str, int]
MOST: tuple[int, int]

class Formula:
    values: list[NDArray[Any]]
    def __init__(
        self,
        word: int,
        links: list[tuple[str, int, int]],
        operands: list[NDArray[Any]],
        source: str,
        target: str,
        blocks: Blocks,
        widen: Stage | None = None,
    ) -> None: ...
    def run(self, source: NDArray[Any], target: NDArray[Any], place: int = 0) -> None: ...

class DefaultEnvironment:
    def __enter__(self) -> None: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
