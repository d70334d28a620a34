from typing import Any

from bitquant.kernels.narrow import Narrow
from bitquant.kernels.stage import Stage

class FromWhole(Stage):
    def __init__(self, **numbers: Any) -> None: ...

class Resize(Stage):
    def __init__(self, **numbers: Any) -> None: ...

class WholeToCodes(Stage):
    def __init__(self, narrow: Narrow, signed: bool) -> None: ...
