"""A model in several `.safetensors` files, and the index that says which tensor is in which.

The index is a JSON object: "weight_map" has the name of each tensor and of its file, which lies beside the index;
"metadata" has what else there is to say ("total_size" in bytes).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bitquant.errors import BitquantError
from bitquant.files.safetensors import SafetensorsSource
from bitquant.files.source import Descriptor, Entry, Source

__all__ = ["INDEX", "ShardedSource", "index_text"]

INDEX = ".index.json"

_LONGEST = 1 << 30


class ShardedSource(Source):
    """The tensors of all shards that an index names."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._sources: dict[Path, SafetensorsSource] = {}
        self.tensors, self.metadata = {}, {}
        where = _weight_map(self.path)
        try:
            for name in dict.fromkeys(where.values()):
                self._add(self.path.parent / name, {tensor for tensor, file in where.items() if file == name})
        except BaseException:
            self.close()
            raise

    def _add(self, path: Path, promised: set[str]) -> None:
        """Open a shard; it holds the tensors that the index promises, and no others."""
        source = self._sources[path] = SafetensorsSource(path)
        for name in sorted(promised ^ source.tensors.keys()):
            what = f"promises {name!r} in {path.name}, which does not have it" if name in promised else ""
            what = what or f"does not say that {name!r} is in {path.name}"
            raise BitquantError(f"{self.path} {what}: the files do not belong together, copy all of them again")
        self.tensors |= source.tensors
        for key, value in source.metadata.items():
            self.metadata.setdefault(key, value)

    @property
    def parts(self) -> list[Source]:
        """The files that the tensors lie in: itself, or the shards."""
        return list(self._sources.values())

    def _read(self, entry: Entry, start: int, stop: int) -> NDArray[Any]:
        return self._sources[entry.file].read(entry.name, start, stop)

    def close(self) -> None:
        """Let go of the files."""
        for source in self._sources.values():
            source.close()


def index_text(path: Path, shards: Mapping[str, Path]) -> str:
    """The index of shards that are written, with the metadata of the one that was read."""
    where: dict[str, str] = {}
    total = 0
    for name, shard in shards.items():
        with SafetensorsSource(shard) as source:
            where |= dict.fromkeys(source.tensors, name)
            total += sum(entry.nbytes for entry in source.tensors.values())
    metadata = _index(path).get("metadata")
    metadata = {**(metadata if isinstance(metadata, dict) else {}), "total_size": total}
    return json.dumps({"metadata": metadata, "weight_map": dict(sorted(where.items()))}, indent=2) + "\n"


def _weight_map(path: Path) -> dict[str, str]:
    """Tensor to file, as an index says it."""
    found = _index(path)["weight_map"]
    names = {str(name): str(shard) for name, shard in found.items()}
    for name, shard in names.items():
        if not shard.endswith(".safetensors") or Path(shard).name != shard:
            raise BitquantError(
                f"{path} says that {name!r} lies in {shard!r}, which is no file beside it: copy it again"
            )
    if not names:
        raise BitquantError(f"{path} names no tensors: copy it again")
    return names


def _index(path: Path) -> dict[str, Any]:
    """What an index holds."""
    with Descriptor(path) as file:
        text = file.bytes(0, min(file.size, _LONGEST), str(path))
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:80]
        raise BitquantError(f"{path} is no index of safetensors ({reason}): copy it again") from error
    if not isinstance(found, dict) or not isinstance(found.get("weight_map"), dict):
        raise BitquantError(f"{path} is no index of safetensors (it has no weight_map): give the file that has it")
    return found
