"""Large payloads of a protobuf message: found where they lie, and exchanged for something else, without loading them.

A message is a run of fields. Each begins with a varint, the number of the field · 8 + the kind of what follows: 0 is a
varint, 1 is 8 bytes, 5 is 4 bytes, and 2 is a length and as many bytes: a text, a payload, or a message again. (Kinds 3
and 4 are groups, which are out of use.) Source: protobuf.dev, "Encoding".

# Design:
# A. A payload is exchanged for a short text of random bytes, unknown to whoever made the message. All else stays as it
#    is, so that protobuf itself may read the rest: what a field means that comes twice is decided there, and nothing
#    that a file says can pass for one of our texts.
# B. The same walk leads back: in a serialized message the short texts are exchanged for payloads, the lengths around
#    them are written anew, and the payloads are copied from one file to the other.
# C. Only what can have a payload in it is entered. Whatever leads beyond the end of a message is an error; what lies in
#    the rest is checked by protobuf.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sized
from typing import Any, Generic, TypeVar

from bitquant.errors import BitquantError

__all__ = ["LARGEST", "Places", "Wire", "exchanged"]

T = TypeVar("T")

LARGEST = (1 << 31) - 1  # bytes of a message that protobuf reads and writes
_VARINT, _EIGHT, _LENGTH, _FOUR = 0, 1, 2, 5
_LONGEST = 10  # bytes of a varint
_DEEPEST = 100  # messages in each other, which is as far as protobuf goes
_WINDOW = 1 << 14


class Places(Generic[T]):
    """What stands in the place of payloads, and for which."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(24)
        self._items: list[T] = []

    def text(self, item: T) -> bytes:
        """A text that stands for this item from now on."""
        self._items.append(item)
        return self._secret + len(self._items).to_bytes(8, "little")

    def item(self, text: bytes) -> T | None:
        """What a text stands for, or None for any other text."""
        if not text.startswith(self._secret):
            return None
        return self._items[int.from_bytes(text[len(self._secret) :], "little") - 1]

    def among(self, data: bytes, start: int, stop: int) -> bool:
        """Whether there is such a text in these bytes."""
        return data.find(self._secret, start, stop) >= 0


class Wire:
    """The bytes of a message, fetched some at a time as they are looked at.

    Attributes
    ----------
    size : int
    name : str
        The beginning of an error's sentence.
    """

    def __init__(self, size: int, fetch: Callable[[int, int], bytes], name: str) -> None:
        self.size, self.name = size, name
        self._fetch = fetch  # called with an offset and a count
        self._start, self._bytes = 0, b""

    def varint(self, at: int, stop: int) -> tuple[int, int]:
        """The number that begins at this byte, and where it ends, which is not beyond `stop`."""
        found = 0
        for k in range(_LONGEST):
            if at + k >= stop:
                raise self.damaged(at, f"a number is to begin there, and its message ends at byte {stop}")
            if not self._start <= at + k < self._start + len(self._bytes):
                self._start = at + k
                self._bytes = self._fetch(self._start, min(_WINDOW, self.size - self._start))
            byte = self._bytes[at + k - self._start]
            found |= (byte & 127) << (7 * k)
            if byte < 128:
                return found, at + k + 1
        raise self.damaged(at, f"a number there has more than {_LONGEST} bytes")

    def damaged(self, at: int, why: str) -> BitquantError:
        """The error that names the byte."""
        return BitquantError(f"{self.name} (byte {at}: {why}): copy or write it again")


def exchanged(
    wire: Wire,
    message: Any,
    payload: str,
    enter: Callable[[Any, int, int], bool],
    exchange: Callable[[int, int], Sized | None],
) -> list[Sized]:
    """Exchange the payloads of a message.

    Parameters
    ----------
    wire : Wire
    message : google.protobuf.descriptor.Descriptor
        The kind of the message.
    payload : str
        The full name of the field that has payloads.
    enter : callable
        Is given a field's descriptor, and the first and the last byte + 1 of what is in it: whether it is worth a look.
    exchange : callable
        Is given the first and the last byte + 1 of a payload: what is to stand there, of what length as `len` says;
        None leaves it.

    Returns
    -------
    list
        What the message is now: a `range` of bytes that stay as they are, bytes, and what `exchange` gave.

    Raises
    ------
    BitquantError
        For lengths that lead beyond the end of the file or of the message around them, unreadable numbers, and groups.
    """
    walk = _Walk(wire, payload, enter, exchange)
    return walk.of(message, 0, wire.size, 0) or [range(wire.size)]


class _Walk:
    def __init__(
        self,
        wire: Wire,
        payload: str,
        enter: Callable[[Any, int, int], bool],
        exchange: Callable[[int, int], Sized | None],
    ) -> None:
        self.wire, self.payload, self.enter, self.exchange = wire, payload, enter, exchange

    def of(self, message: Any, start: int, stop: int, depth: int) -> list[Sized] | None:
        """What a message is now, or None where nothing is exchanged in it."""
        wire, found = self.wire, list[Sized]()
        stays = at = start  # what is before `stays` has been dealt with
        while at < stop:
            begin = at
            key, at = wire.varint(begin, stop)
            number, kind = key >> 3, key & 7
            if not number or kind not in (_VARINT, _EIGHT, _LENGTH, _FOUR):
                raise wire.damaged(begin, f"there is no field {number} of kind {kind} in {message.full_name}")
            if kind == _VARINT:
                _, at = wire.varint(at, stop)
            elif kind != _LENGTH:
                at += 8 if kind == _EIGHT else 4
            else:
                length_at = at
                length, body = wire.varint(at, stop)
                at = body + length
                new = self._field(message, number, body, at, depth) if at <= stop else None
                if new is not None:
                    found += [range(stays, length_at), _varint(sum(map(len, new))), *new]
                    stays = at
            if at > stop:
                raise wire.damaged(begin, f"a field is to end at byte {at}, and its message ends at byte {stop}")
        return [*found, range(stays, stop)] if found else None

    def _field(self, message: Any, number: int, start: int, stop: int, depth: int) -> list[Sized] | None:
        field = message.fields_by_number.get(number)
        if field is None or not self.enter(field, start, stop):
            return None
        if field.full_name == self.payload:
            new = self.exchange(start, stop)
            return None if new is None else [new]
        if field.message_type is None or depth == _DEEPEST:
            return None
        return self.of(field.message_type, start, stop, depth + 1)


def _varint(number: int) -> bytes:
    groups = range(0, max(number.bit_length(), 1), 7)
    return bytes(((number >> k) & 127) | (128 if k != groups[-1] else 0) for k in groups)
