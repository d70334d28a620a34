"""Storage layouts: element codes and scales to the bytes that files and matrix units take, and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bitquant.arrays import Array, take
from bitquant.blocks.table import LAYOUTS, BlockFormat
from bitquant.errors import BitquantError
from bitquant.packing import pack_bits, unpack_bits
from bitquant.rules import choose

_TILE_ROWS, _TILE_COLUMNS = 128, 4  # cuBLAS documentation, "1D block scaling factors layout"
_RECORD_SCALES = {"nvfp4": 4}  # scales in one record where it is not one: ggml-common.h, block_nvfp4


def layout_of(row: BlockFormat, layout: str | None) -> str:
    """The name of a layout that a format has; its default for None."""
    names = row.layouts
    given = names[0] if layout is None else layout
    return choose("layout", given, {name: LAYOUTS[name] for name in names}, f" for {row.name}")


def packed(codes: Array, scales: Array, row: BlockFormat, axis: int, layout: str) -> Any:
    """Codes and scales, as unsigned integers, in a layout; blocks become the last axis."""
    codes, scales = np.moveaxis(codes, axis, -1), np.moveaxis(scales, axis, -1)
    if layout == "gguf":
        return _to_records(codes, scales, row)
    elements = pack_bits(np.ascontiguousarray(codes), row.element.bits)
    stored = np.ascontiguousarray(scales)
    return elements, _to_tiles(stored) if layout == "cublas" else stored


def unpacked(data: Any, shape: tuple[int, ...], row: BlockFormat, axis: int, layout: str) -> tuple[Array, Array]:
    """Codes and scales out of a layout; `shape` is that of the numbers."""
    rows = (*shape[:axis], *shape[axis + 1 :])
    length, blocks = shape[axis], -(-shape[axis] // row.block)
    if layout == "gguf":
        codes, scales = _from_records(_bytes(data, "data"), rows, length, row)
    else:
        try:
            elements, stored = data
        except (TypeError, ValueError):
            raise BitquantError(f"data in the {layout} layout is a pair: elements and scales") from None
        codes = _elements(_bytes(elements, "the elements"), rows, length, row.element.bits)
        scales = _scales(stored, rows, blocks, row, layout)
    return (
        np.ascontiguousarray(np.moveaxis(codes, -1, axis)),
        np.ascontiguousarray(np.moveaxis(scales, -1, axis)),
    )


def _bytes(data: Any, what: str) -> Array:
    """Anything that holds bytes, as uint8."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return np.frombuffer(data, np.uint8)
    array = np.ascontiguousarray(take(data)[0])
    if array.dtype.itemsize != 1:
        raise BitquantError(f"{what} have dtype {array.dtype}: pass bytes, an array of uint8")
    return array.view(np.uint8)


def _reshaped(array: Array, shape: tuple[int, ...], what: str) -> Array:
    if array.size != math.prod(shape):
        raise BitquantError(f"{what} hold {array.size} codes or bytes: shape needs {math.prod(shape)}, {shape}")
    return array.reshape(shape)


def _elements(data: Array, rows: tuple[int, ...], length: int, bits: int) -> Array:
    stream = _reshaped(data, (*rows, -(-length * bits // 8)), "the elements")
    codes: Array = unpack_bits(stream, bits, length)
    return codes


def _scales(data: Any, rows: tuple[int, ...], blocks: int, row: BlockFormat, layout: str) -> Array:
    array = np.ascontiguousarray(take(data)[0] if not isinstance(data, bytes) else np.frombuffer(data, np.uint8))
    size = row.scale.code_dtype.itemsize
    if array.dtype.itemsize not in (1, size):
        raise BitquantError(f"the scales have dtype {array.dtype}: pass codes of {row.scale.name}, or bytes")
    codes = array.reshape(-1).view(row.scale.code_dtype) if array.size else np.empty(0, row.scale.code_dtype)
    if layout == "cublas":
        return _from_tiles(codes, math.prod(rows), blocks).reshape(*rows, blocks)
    return _reshaped(codes, (*rows, blocks), "the scales")


# --- cuBLAS: tiles of scales --------------------------------------------------------------------------------


def _to_tiles(scales: Array) -> Array:
    """Tiles of 128 rows by 4 blocks, zeros where the scales end.

    In a tile, the scale of row r and block c is the one at 16·(r % 32) + 4·(r // 32) + c.
    """
    columns = scales.shape[-1]
    rows = math.prod(scales.shape[:-1])
    down, across = -(-rows // _TILE_ROWS), -(-columns // _TILE_COLUMNS)
    padded = np.zeros((down * _TILE_ROWS, across * _TILE_COLUMNS), scales.dtype)
    padded[:rows, :columns] = scales.reshape(rows, columns)
    tiles = padded.reshape(down, 4, 32, across, 4).transpose(0, 3, 2, 1, 4)
    return np.ascontiguousarray(tiles).reshape(-1)


def _from_tiles(tiles: Array, rows: int, columns: int) -> Array:
    down, across = -(-rows // _TILE_ROWS), -(-columns // _TILE_COLUMNS)
    shaped = _reshaped(tiles, (down, across, 32, 4, 4), "the scales").transpose(0, 3, 2, 1, 4)
    return shaped.reshape(down * _TILE_ROWS, across * _TILE_COLUMNS)[:rows, :columns]


# --- GGUF: records ------------------------------------------------------------------------------------------


def _whole_records(length: int, row: BlockFormat) -> tuple[int, int]:
    """Scales in a record, and records in a row of numbers."""
    each = _RECORD_SCALES.get(row.name, 1)
    if length % (each * row.block):
        raise BitquantError(
            f"a row of {length} numbers is no whole number of {row.name}'s records of {each * row.block}: pad x with "
            "zeros first" + (", or pass layout='separate'" if "separate" in row.layouts else "")
        )
    return each, length // (each * row.block)


def _to_records(codes: Array, scales: Array, row: BlockFormat) -> Array:
    rows = codes.shape[:-1]
    each, records = _whole_records(codes.shape[-1], row)
    size = row.scale.code_dtype.itemsize
    stored = np.ascontiguousarray(scales).astype(row.scale.code_dtype.newbyteorder("<"), copy=False)
    heads = stored.view(np.uint8).reshape(*rows, records, each * size)
    blocks = np.ascontiguousarray(codes).reshape(*rows, records, each, row.block)
    if row.element.bits == 4:
        if row.element.is_integer:  # from two's complement to eight above the value
            blocks = blocks ^ 8
        half = row.block // 2
        blocks = blocks[..., :half] | blocks[..., half:] << 4
    bodies = blocks.reshape(*rows, records, -1)
    return np.concatenate([heads, bodies], -1).reshape(*rows, -1)


def _from_records(data: Array, rows: tuple[int, ...], length: int, row: BlockFormat) -> tuple[Array, Array]:
    each, records = _whole_records(length, row)
    head = each * row.scale.code_dtype.itemsize
    body = row.block * row.element.bits // 8
    stream = _reshaped(data, (*rows, records, head + each * body), "the records")
    scales = np.ascontiguousarray(stream[..., :head]).view(row.scale.code_dtype.newbyteorder("<"))
    blocks = stream[..., head:].reshape(*rows, records, each, body)
    if row.element.bits == 4:
        blocks = np.concatenate([blocks & 15, blocks >> 4], -1)
        if row.element.is_integer:
            blocks = blocks ^ 8
    codes = np.ascontiguousarray(blocks).reshape(*rows, length)
    return codes, scales.astype(row.scale.code_dtype).reshape(*rows, -1)
