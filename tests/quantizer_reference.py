"""What a formula of a quantizer's dialect means: one number at a time, each operation in rationals and rounded once.

Shares no code with src: a formula is run by Python itself on numbers that know their type.
"""

import math
from fractions import Fraction

# Digits of the significand, exponents of the smallest and the largest normal numbers.
TYPES = {"float64": (53, -1022, 1023), "float32": (24, -126, 127), "float16": (11, -14, 15), "bfloat16": (8, -126, 127)}
NAN = math.nan


def rounded(value, kind):
    """A rational, or an infinity or NaN, to a type, ties to even."""
    digits, least, most = TYPES[kind]
    if isinstance(value, float):
        return value
    if value == 0:
        return Fraction(0)
    size = abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= size < Fraction(2) ** exponent
    unit = Fraction(2) ** (max(exponent, least) - digits + 1)
    size = round(size / unit) * unit
    if size >= Fraction(2) ** (most + 1):
        return math.inf if value > 0 else -math.inf
    return size if value > 0 else -size


def held(number):
    """A float as a rational, or as the infinity or NaN that it is."""
    number = float(number)
    return Fraction(number) if math.isfinite(number) else number


class Number:
    """A number and its type; type None for one that takes that of what it meets."""

    def __init__(self, value, kind, context):
        self.value, self.kind, self.context = value, kind, context

    def to(self, kind):
        """Convert, with one rounding."""
        if kind == self.kind:
            return self
        if kind == "int32":
            whole = math.trunc(self.value) if isinstance(self.value, Fraction) else -(2**31)
            return Number(Fraction(whole if -(2**31) <= whole < 2**31 else -(2**31)), kind, self.context)
        return Number(rounded(self.value, kind), kind, self.context)

    def alike(self, other):
        """Both in their common type, which may be None."""
        if not isinstance(other, Number):
            other = Number(Fraction(other), None, self.context)
        kinds = {self.kind, other.kind} - {None}
        mere = next((one for one in (self, other) if one.kind is None), None)
        if kinds == {"int32"}:
            fraction = mere is not None and isinstance(mere.value, Fraction) and mere.value.denominator > 1
            kinds = {self.context["precision"]} if fraction else kinds
        if len(kinds) > 1:
            kinds -= {"int32"}
        if len(kinds) > 1:
            kinds = {"float64"} if "float64" in kinds else {"float32"}
        if not kinds:
            return self, other, None
        (kind,) = kinds
        return self.to(kind), other.to(kind), kind

    def operate(self, other, work):
        """One operation, rounded once; integers wrap."""
        one, two, kind = self.alike(other)
        if work is divide and kind == "int32":
            kind = self.context["precision"]
        value = work(one.value, two.value)
        if kind == "int32":
            value = Fraction((int(value) + 2**31) % 2**32 - 2**31)
        elif kind is not None:
            value = rounded(value, kind)
        return Number(value, kind, self.context)

    def __add__(self, other):
        return self.operate(other, add)

    def __sub__(self, other):
        return self.operate(other, subtract)

    def __mul__(self, other):
        return self.operate(other, multiply)

    def __truediv__(self, other):
        return self.operate(other, divide)

    def __floordiv__(self, other):
        return self.operate(other, lambda a, b: Fraction(a // b))

    def __pow__(self, other):
        return self.operate(other, lambda a, b: a**b)

    def _turned(self, other):
        return Number(Fraction(other), None, self.context)

    def __radd__(self, other):
        return self._turned(other) + self

    def __rsub__(self, other):
        return self._turned(other) - self

    def __rmul__(self, other):
        return self._turned(other) * self

    def __rtruediv__(self, other):
        return self._turned(other) / self

    def __neg__(self):
        return Number(-self.value, self.kind, self.context)

    def _compared(self, other):
        one, two, _ = self.alike(other)
        return one.value, two.value

    def __lt__(self, other):
        one, two = self._compared(other)
        return one < two

    def __le__(self, other):
        one, two = self._compared(other)
        return one <= two

    def __gt__(self, other):
        one, two = self._compared(other)
        return one > two

    def __ge__(self, other):
        one, two = self._compared(other)
        return one >= two

    def __eq__(self, other):
        one, two = self._compared(other)
        return one == two

    __hash__ = None


def exactly(one, two, exact, special):
    """Rationals by rational arithmetic; what is infinite or NaN as IEEE 754 has it."""
    if isinstance(one, Fraction) and isinstance(two, Fraction):
        return exact(one, two)
    return held(special(float(one), float(two)))


def add(one, two):
    return exactly(one, two, lambda a, b: a + b, lambda a, b: a + b)


def subtract(one, two):
    return exactly(one, two, lambda a, b: a - b, lambda a, b: a - b)


def multiply(one, two):
    return exactly(one, two, lambda a, b: a * b, lambda a, b: a * b)


def divide(one, two):
    if two == 0:
        return NAN if one == 0 or one != one else math.copysign(math.inf, one)
    return exactly(one, two, lambda a, b: a / b, lambda a, b: a / b)


def limit(smaller, spare):
    """min, max, fmin or fmax."""

    def choose(one, other):
        one = one if isinstance(one, Number) else other._turned(one)
        one, two, kind = one.alike(other)
        a, b = one.value, two.value
        if a != a or b != b:
            return Number((b if a != a else a) if spare else NAN, kind, one.context)
        return Number(min(a, b) if smaller else max(a, b), kind, one.context)

    return choose


def on_finite(work):
    """A function of rationals to integers, which leaves infinities and NaN."""

    def apply(number):
        number = number.to(number.context["precision"]) if number.kind is None else number
        value = Fraction(work(number.value)) if isinstance(number.value, Fraction) else number.value
        return Number(value, number.kind, number.context)

    return apply


def held64(number):
    fits = isinstance(number.value, Fraction) and -(2**63) <= number.value < 2**63
    return number if fits else Number(Fraction(-(2**63)), number.kind, number.context)


def low32(number):
    whole = int(held64(number).value)
    return Number(Fraction((whole + 2**31) % 2**32 - 2**31), "int32", number.context)


def fma(u, a, b):
    a, b = (other.to("float32") for other in (a, b))
    return Number(rounded(add(multiply(u.value, a.value), b.value), "float32"), "float32", u.context)


def casting(kind):
    return lambda number: (number if isinstance(number, Number) else Number(Fraction(number), None, {})).to(kind)


MIN, MAX, FMIN, FMAX = limit(True, False), limit(False, False), limit(True, True), limit(False, True)
FUNCTIONS = {
    "abs": lambda number: Number(abs(number.value), number.kind, number.context),
    "min": MIN,
    "max": MAX,
    "fmin": FMIN,
    "fmax": FMAX,
    "clamp": lambda u, a, b: MIN(MAX(u, a), b),
    "fclamp": lambda u, a, b: FMIN(FMAX(u, a), b),
    "round_even": on_finite(round),
    "round_away": on_finite(lambda value: math.floor(abs(value) + Fraction(1, 2)) * (1 if value > 0 else -1)),
    "floor": on_finite(math.floor),
    "trunc": on_finite(math.trunc),
    "fma": fma,
    "held64": held64,
    "low32": low32,
    **{kind: casting(kind) for kind in (*TYPES, "int32")},
}


class Interpreter:
    """The formulas of a row for one channel."""

    def __init__(self, row, grid, bits, source, facts):
        self.row, self.source = row, source
        self.context = {"precision": source if row.precision == "input" else row.precision}
        step = source if row.step_format == "input" else row.step_format
        self.casts = {"step": step, "zero_point": step if row.zero_point == "real" else "int32"}
        self.names = {"own": casting(source), **FUNCTIONS}
        for name, value in {"qmin": grid[0], "qmax": grid[1], "bits": bits, **facts}.items():
            self.names[name] = Number(Fraction(value), None, self.context)

    def number(self, value, kind):
        return Number(held(value), kind, self.context)

    def find(self, scheme, extremes, stored):
        """Find the parameters; `stored` = (bits, signed) of the type in which a zero point is stored as a code."""
        for name, value in extremes.items():
            self.names[name] = self.number(value, self.source).to(self.context["precision"])
        self.names["zero_point"] = Number(Fraction(0), self.casts["zero_point"], self.context)
        self.assign(self.row.parameters(scheme))
        if self.row.zero_point == "code":
            bits, signed = stored
            whole = int(self.names["zero_point"].value) % 2**bits
            whole -= 2**bits if signed and whole >> (bits - 1) else 0
            self.names["zero_point"] = Number(Fraction(whole), "int32", self.context)

    def give(self, step, zero_point):
        self.names["step"] = self.number(step, "float64").to(self.casts["step"])
        self.names["zero_point"] = self.number(zero_point, "float64").to(self.casts["zero_point"])
        self.assign(self.row.given)

    def assign(self, assignments):
        for text in assignments:
            name, formula = (part.strip() for part in text.split("=", 1))
            value = self.run(formula)
            self.names[name] = value.to(self.casts[name]) if name in self.casts else value

    def run(self, formula, **names):
        value = eval(formula, {"__builtins__": {}}, {**self.names, **names})  # a formula of a row
        return value if isinstance(value, (Number, bool)) else Number(Fraction(value), None, self.context)

    def code(self, x):
        """The integer whose low bits are the code of a number."""
        return int(
            self.run(self.row.codes, x=self.number(x, self.source).to(self.context["precision"])).to("int32").value
        )

    def value(self, code):
        """What a code stands for, as a float."""
        value = self.run(self.row.values, code=Number(Fraction(code), "int32", self.context))
        value = value.to(self.context["precision"]) if value.kind == "int32" else value
        return float(value.value)
