from typing import Any

from numpy.typing import NDArray

from bitquant.kernels.stage import Stage

def maxima(
    source: NDArray[Any],
    widen: Stage | None,
    most: NDArray[Any],
    shape: tuple[int, int, int, int],
    index: int = 0,
    start: int = 0,
    stop: int = -1,
    first: int = 0,
    finite: bool = False,
    signs: bool = False,
) -> None: ...
def power_scales(most: NDArray[Any], codes: NDArray[Any], raised: int, offset: int) -> None: ...

class DefaultFPU:
    def __enter__(self) -> None: ...
    def __exit__(self, *error: object) -> None: ...

class ByBlock(Stage): ...

class Move(ByBlock):
    def __init__(
        self, word: int, steps: NDArray[Any], shape: tuple[int, int, int, int], first: int, offset: int
    ) -> None: ...

class Scale(ByBlock):
    def __init__(
        self, steps: NDArray[Any], shape: tuple[int, int, int, int], first: int, divides: bool, exact: bool = False
    ) -> None: ...

class Float32(ByBlock):
    def __init__(
        self,
        steps: NDArray[Any],
        shape: tuple[int, int, int, int],
        first: int,
        divides: bool,
        addend: float | None = None,
    ) -> None: ...
