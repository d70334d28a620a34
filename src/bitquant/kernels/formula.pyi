from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from bitquant.kernels.stage import Stage

OPERATIONS: dict[str, int]

class Formula:
    values: list[NDArray[Any]]
    channels: int
    def __init__(
        self,
        word: int,
        links: list[tuple[str, int, int]],
        operands: list[NDArray[Any]],
        source: str,
        target: str,
        widen: Stage | None = None,
    ) -> None: ...
    def run(
        self, source: NDArray[Any], target: NDArray[Any], inner: int, start: int = 0, stop: int = -1
    ) -> None: ...

class DefaultEnvironment:
    def __enter__(self) -> None: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
