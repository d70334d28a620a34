from typing import Any

from bitquant.kernels.stage import Stage

class FromWhole(Stage):
    def __init__(self, **numbers: Any) -> None: ...

class Resize(Stage):
    def __init__(self, **numbers: Any) -> None: ...
