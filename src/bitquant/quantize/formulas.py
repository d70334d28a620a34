"""Formulas of quantizer dialects: evaluated per channel in NumPy, or compiled to a chain of a kernel's operations.

dialects/quantizers/row.py says what a formula may hold. An operation here is one IEEE 754 operation of the type that it
is done in; whoever calls sees to it that the floating point environment is the default one.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.convert import round_to
from bitquant.dialects.quantizers.row import FUNCTIONS
from bitquant.errors import BitquantError
from bitquant.kernels.formula import MOST

# The types of a formula, and the dtype in which their numbers are held: those of the two short ones as float32.
DTYPES: dict[str, np.dtype[Any]] = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "bfloat16": np.dtype(np.float32),
    "float16": np.dtype(np.float32),
    "int32": np.dtype(np.int32),
}
SHORT = ("bfloat16", "float16")
_CASTS = ("float64", "float32", "float16", "bfloat16", "int32", "own")
_OPERATORS: dict[type, tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("add", operator.add),
    ast.Sub: ("subtract", operator.sub),
    ast.Mult: ("multiply", operator.mul),
    ast.Div: ("divide", operator.truediv),
    ast.FloorDiv: ("", operator.floordiv),
    ast.Pow: ("", operator.pow),
}
_COMPARISONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


@dataclass(frozen=True)
class Value:
    """Numbers per channel and their type, or one number whose type is that of what it meets (type "number")."""

    numbers: Any
    type: str

    def to(self, type: str) -> Value:
        """The numbers in another type, rounded to nearest even; to int32 as x86's CVTTPS2DQ converts."""
        if type == self.type:
            return self
        if type == "int32":
            if isinstance(self.numbers, int):
                return Value(np.array([self.numbers]).astype(np.int32), type)
            real = np.asarray(self.numbers, np.float64)
            held = (real > -(2.0**31) - 1) & (real < 2.0**31)
            return Value(np.where(held, np.where(held, real, 0).astype(np.int64), -(2**31)).astype(np.int32), type)
        numbers = np.atleast_1d(np.asarray(self.numbers))
        if type in SHORT:
            wide = numbers if numbers.dtype == np.float32 else numbers.astype(np.float64)
            return Value(round_to(wide, type).astype(np.float32), type)
        return Value(numbers.astype(DTYPES[type]), type)


class Types:
    """The types of names, which operations on them have."""

    def __init__(self, precision: str, own: str) -> None:
        self.precision, self.own = precision, own

    def common(self, one: Value, other: Value) -> str:
        """The type of an operation on two values."""
        return self.wider(one.type, other.type, fractional=isinstance(one.numbers, float))

    def wider(self, one: str, other: str, fractional: bool = False) -> str:
        """The type of an operation on values of two types; `fractional` where a mere number has a fraction."""
        if "number" in (one, other):
            one = one if other == "number" else other
            return self.precision if one == "int32" and fractional else one
        if "int32" in (one, other):
            return one if other == "int32" else other
        order = ("float64", "float32")
        return one if one == other else next((type for type in order if type in (one, other)), "float32")


class Evaluator(Types):
    """Formulas evaluated over channels: names are looked up in, and assigned to, one mapping."""

    def __init__(self, names: Mapping[str, Value], precision: str, own: str) -> None:
        super().__init__(precision, own)
        self.names = dict(names)

    def assign(self, assignments: Iterable[str], casts: Mapping[str, str]) -> None:
        """Make assignments in order; `casts` gives the types of names that have one of their own."""
        for text in assignments:
            name, _, formula = text.partition("=")
            name = name.strip()
            value = self.evaluate(parse(formula.strip()))
            self.names[name] = value.to(casts[name]) if name in casts else value

    def evaluate(self, node: ast.AST) -> Value:
        """Evaluate a formula, or a part of one, without a number to be quantized in it."""
        match node:
            case ast.Constant(value=int() | float()):
                return Value(node.value, "number")
            case ast.Name(id=name):
                if name not in self.names:
                    raise BitquantError(
                        f"the formula uses {name}, which is not known: it knows {', '.join(self.names)}"
                    )
                return self.names[name]
            case ast.UnaryOp(op=ast.USub()):
                value = self.evaluate(node.operand)
                return Value(-value.numbers, value.type)
            case ast.BinOp():
                return self._binary(node)
            case ast.IfExp():
                return self._choice(node)
            case ast.Compare(ops=[comparison], comparators=[right]):
                one, other = self._alike(self.evaluate(node.left), self.evaluate(right))
                return Value(_COMPARISONS[type(comparison)](one.numbers, other.numbers), "condition")
            case ast.Call(func=ast.Name(id=name)):
                return self.apply(name, [self.evaluate(argument) for argument in node.args])
        raise BitquantError(f"a formula cannot hold {ast.unparse(node)!r}: dialects/quantizers/row.py says what it may")

    def _alike(self, one: Value, other: Value) -> tuple[Value, Value]:
        type = self.common(one, other)
        return (one, other) if type == "number" else (one.to(type), other.to(type))

    def _binary(self, node: ast.BinOp) -> Value:
        _, compute = _OPERATORS[type(node.op)]
        one, other = self._alike(self.evaluate(node.left), self.evaluate(node.right))
        if one.type == "int32" and isinstance(node.op, ast.Div):
            one, other = one.to(self.precision), other.to(self.precision)
        return self._rounded(compute(one.numbers, other.numbers), one.type)

    def _rounded(self, numbers: Any, type: str) -> Value:
        """What an operation gives, in its type: the two short ones are computed in float32."""
        return Value(numbers, "float32").to(type) if type in SHORT else Value(numbers, type)

    def _choice(self, node: ast.IfExp) -> Value:
        condition = self.evaluate(node.test).numbers
        one, other = self._alike(self.evaluate(node.body), self.evaluate(node.orelse))
        if one.type == "number":
            if np.ndim(condition) == 0:
                return one if condition else other
            one, other = one.to(self.precision), other.to(self.precision)
        return Value(np.where(condition, one.numbers, other.numbers), one.type)

    def apply(self, name: str, arguments: list[Value]) -> Value:
        """Apply a function of row.FUNCTIONS."""
        if name not in FUNCTIONS:
            raise BitquantError(f"a formula has no function {name}: there are {', '.join(FUNCTIONS)}")
        if name in ("clamp", "fclamp"):
            value, low, high = arguments
            prefix = name.removesuffix("clamp")
            return self.apply(f"{prefix}min", [self.apply(f"{prefix}max", [value, low]), high])
        if name in _CASTS:
            return arguments[0].to(self.own if name == "own" else name)
        if name in ("min", "max", "fmin", "fmax"):
            one, other = self._alike(*arguments)
            if one.type == "number":
                return Value((min if name.endswith("min") else max)(one.numbers, other.numbers), "number")
            full = {"min": np.minimum, "max": np.maximum, "fmin": np.fmin, "fmax": np.fmax}
            return Value(full[name](one.numbers, other.numbers), one.type)
        value = arguments[0]
        if value.type == "number":
            value = value.to(self.precision)
        return Value(_ROUNDINGS[name](value.numbers), value.type)


def _round_away(numbers: NDArray[Any]) -> NDArray[Any]:
    whole: NDArray[Any] = np.trunc(numbers)
    whole += np.copysign((np.abs(numbers - whole) >= 0.5).astype(numbers.dtype), numbers)
    return whole


_ROUNDINGS: dict[str, Callable[[Any], Any]] = {
    "abs": np.abs,
    "round_even": np.rint,
    "round_away": _round_away,
    "floor": np.floor,
    "trunc": np.trunc,
}


@lru_cache(maxsize=1024)
def parse(formula: str) -> ast.expr:
    """A formula as a tree."""
    try:
        return ast.parse(formula, mode="eval").body
    except SyntaxError as error:
        raise BitquantError(f"the formula {formula!r} cannot be read: {error.msg}") from error


def uses(formula: str, name: str) -> bool:
    """Whether a formula uses a name."""
    return _contains(parse(formula), name)


def _contains(node: ast.AST, name: str) -> bool:
    return any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(node))


class Chain:
    """A formula compiled to links of kernels/formula.pyx: a chain on one name, with the other operands per channel.

    Attributes
    ----------
    links : list of (str, int, int)
        Operations and the indices of their other operands, or -1.
    operands : list of ndarray
    type : str
        The type of what comes out.
    word : int
        Bytes of the register's floats: 8 where something in the chain is float64, else 4.
    """

    def __init__(self, formula: str, name: str, type: str, evaluator: Evaluator, channels: int) -> None:
        self.name, self.evaluator, self.channels = name, evaluator, channels
        for word in (4, 8):
            self.word, self.wide = word, type == "float64"
            self.links: list[tuple[str, int, int]] = []
            self.operands: list[NDArray[Any]] = []
            self.places: dict[bytes, int] = {}
            self.type = type
            self._walk(parse(formula))
            if word == 8 or not self.wide:
                break
        if len(self.links) >= MOST[0] or len(self.operands) > MOST[1]:
            raise BitquantError(f"{formula!r} has more than {MOST[0]} operations or {MOST[1]} operands: shorten it")

    def to(self, type: str) -> None:
        """Bring the register to a type."""
        if type == self.type or type == "number":
            return
        if type == "int32":
            self._add("to_int32")
        else:
            if self.type == "int32":
                self._add("from_int32")
            exact = self.type in SHORT and type not in SHORT  # a wider one
            if type in SHORT and self.type == "float64":
                raise BitquantError(f"a formula cannot round float64 to {type}: nothing here rounds it once")
            if not exact and self.type != type:
                self._round(type)
        self.type = type
        self.wide |= type == "float64"

    def _add(self, operation: str, *operands: Value) -> None:
        first, second, *_ = [*(self._place(operand) for operand in operands), -1, -1]
        self.links.append((operation, first, second))

    def _place(self, operand: Value) -> int:
        """The index of an operand, which is taken in if it is new."""
        dtype = np.dtype(np.int32 if operand.type == "int32" else f"f{self.word}")
        array = np.ascontiguousarray(np.broadcast_to(operand.numbers, self.channels), dtype)
        key = array.tobytes() + bytes(dtype.kind, "ascii")
        if key not in self.places:
            self.places[key] = len(self.operands)
            self.operands.append(array)
        return self.places[key]

    def _round(self, type: str) -> None:
        """What an operation of a type leaves in the register, rounded to that type."""
        if type in SHORT or (type == "float32" and self.word == 8):
            self._add(f"to_{type}")

    def _walk(self, node: ast.AST) -> None:
        """Emit the links of a formula, from the name outwards."""
        match node:
            case ast.Name(id=self.name):
                return
            case ast.UnaryOp(op=ast.USub()):
                self._walk(node.operand)
                self._operate("subtract_from", Value(0, "number")) if self.type == "int32" else self._add("negate")
            case ast.BinOp() if type(node.op) in _OPERATORS and _OPERATORS[type(node.op)][0]:
                operation = _OPERATORS[type(node.op)][0]
                left = _contains(node.left, self.name)
                inside, outside = (node.left, node.right) if left else (node.right, node.left)
                if not left and operation == "subtract":
                    operation = "subtract_from"
                if _contains(outside, self.name) or (not left and operation == "divide"):
                    raise self._no_chain(node)
                self._walk(inside)
                self._operate(operation, self.evaluator.evaluate(outside))
            case ast.Call(func=ast.Name(id=name), args=[inside, *others]) if name in FUNCTIONS:
                if any(_contains(other, self.name) for other in others):
                    raise self._no_chain(node)
                self._walk(inside)
                self._call(name, [self.evaluator.evaluate(other) for other in others])
            case _:
                raise self._no_chain(node)

    def _operate(self, operation: str, operand: Value) -> None:
        """An operation of two operands, in their common type."""
        fractional = isinstance(operand.numbers, float)
        kind = self.evaluator.wider(self.type, operand.type, fractional)
        if kind == "int32" and operation == "divide":
            kind = self.evaluator.precision
        self.to(kind)
        operand = operand.to(kind)
        if kind == "int32":
            self._add(f"int_{operation}", operand)
            return
        self._add(operation, operand)
        if operation not in ("min", "max", "fmin", "fmax"):
            self._round(kind)

    def _call(self, name: str, others: list[Value]) -> None:
        if name in ("clamp", "fclamp"):
            type = self.type
            for other in others:
                type = self.evaluator.wider(type, other.type, isinstance(other.numbers, float))
            self.to(type)
            if type == "int32":
                self._add("int_max", others[0].to(type))
                self._add("int_min", others[1].to(type))
            else:
                self._add(name, *(other.to(type) for other in others))
        elif name == "fma":
            narrower = self.type != "float64" and any(other.type == "float64" for other in others)
            if self.type in (*SHORT, "int32") or narrower or (self.word == 8 and self.type == "float32"):
                raise BitquantError("a formula multiplies and adds at once in float32, or where all is float64")
            self._add("fma", *(other.to(self.type) for other in others))
        elif name in ("min", "max", "fmin", "fmax"):
            name = name.removeprefix("f") if self.type == others[0].type == "int32" else name
            if self.type == "int32" and others[0].type == "number":
                name = name.removeprefix("f")
            self._operate(name, others[0])
        elif name == "low32":
            self._add(name)
            self.type = "int32"
        elif name in _CASTS:
            self.to(self.evaluator.own if name == "own" else name)
        elif self.type != "int32":
            self._add(name)
        elif name == "abs":
            raise BitquantError("a formula takes the magnitude of a float, not of an int32")

    def _no_chain(self, node: ast.AST) -> BitquantError:
        return BitquantError(
            f"{ast.unparse(node)!r} is no chain of operations on {self.name}, whose other operands do not contain it"
        )
