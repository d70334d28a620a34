"""The kernels' algorithm a second time, step by step, on words that may be numbers or terms of a solver.

What stands here follows `kernels/narrow.pyx`, `flags.pxd`, `integer.pyx`, `whole.pyx`, `rounding.pxd`, `fields.pxd`
and, of `affine.pyx` and `propose.pxd`, the proposals in fixed point, function by function and keeps their names, so
that the two can be read side by side. test_proof.py and test_proof_quantize.py run it twice: on Python's integers,
against the compiled kernels, and on a solver's terms, against what SMT-LIB says a conversion is (proof.py). A step is a
method, so that a mutant can change one and nothing else.
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import numpy as np

MODES = ("nearest_even", "nearest_away", "toward_zero", "toward_positive", "toward_negative", "to_odd")
OVERFLOW, UNDERFLOW, INEXACT, INVALID = 2, 4, 8, 1  # as stage.Flag

# --- Words --------------------------------------------------------------------------------------------------


class Word:
    """A machine word: `width` bits whose operators wrap around, as those of C's unsigned types do.

    Two words meet only in the same width; an int takes the width of the word it meets. A comparison gives a word of
    one bit. A shift by the width or more, which C leaves open, breaks a promise, as `promise(False)` does anywhere.
    """

    width: int

    def apply(self, operation, *others, **how):
        """The word that an operation gives."""
        raise NotImplementedError

    def constant(self, value, width):
        """A word of the same kind that holds a number."""
        raise NotImplementedError

    def promise(self, kept):
        """What the code relies on: a word of one bit that is never 0."""
        raise NotImplementedError

    def meet(self, other):
        """The other operand as a word of this width."""
        if isinstance(other, int):
            return self.constant(other, self.width)
        assert other.width == self.width, (self.width, other.width)
        return other

    def __add__(self, other):
        return self.apply("add", self.meet(other))

    def __sub__(self, other):
        return self.apply("sub", self.meet(other))

    def __rsub__(self, other):
        return self.meet(other) - self

    def __mul__(self, other):
        return self.apply("mul", self.meet(other))

    def __and__(self, other):
        return self.apply("and", self.meet(other))

    def __or__(self, other):
        return self.apply("or", self.meet(other))

    def __xor__(self, other):
        return self.apply("xor", self.meet(other))

    def __invert__(self):
        return self ^ -1

    def __lshift__(self, by):
        return self.apply("shl", self.shifter(by))

    def __rshift__(self, by):
        return self.apply("shr", self.shifter(by))

    def shifter(self, by):
        """The number of places of a shift, which C asks to be less than the width."""
        by = self.meet(by if isinstance(by, int) else by.to(self.width))
        self.promise(by < self.width)
        return by

    def __lt__(self, other):
        return self.apply("ult", self.meet(other), bits=1)

    def __gt__(self, other):
        return self.meet(other) < self

    def __ge__(self, other):
        return (self < other) ^ 1

    def less(self, other):
        """`<` of two's complement."""
        return self.apply("slt", self.meet(other), bits=1)

    def equals(self, other):
        """`==`, which Python keeps for itself."""
        return self.apply("equal", self.meet(other), bits=1)

    def differs(self, other):
        """`!=`."""
        return self.equals(other) ^ 1

    def to(self, width):
        """A cast to an unsigned type: cut off, or zeros put in front."""
        return self if width == self.width else self.apply("to", bits=width)

    def select(self, yes, no):
        """`yes if self else no`, for a word of one bit."""
        yes = no.meet(yes) if isinstance(yes, int) else yes
        return self.apply("select", yes, yes.meet(no), bits=yes.width)

    def plus(self, other):
        """The sum of two FP32 or FP64 numbers, by the FPU; their bits, as all that follows."""
        return self.apply("fadd", other)

    def minus(self, other):
        """The difference."""
        return self.apply("fsub", other)

    def cut_off(self):
        """The FP32 number as an int32, which C leaves open where it does not fit."""
        self.promise((self & 0x7FFFFFFF) < 0x4F000000)
        return self.apply("cut_off")

    def as_float(self):
        """The int32 as a FP32 number."""
        return self.apply("as_float")

    def below(self, other):
        """Whether the number is less, which NaN never is."""
        return self.apply("fless", other, bits=1)


def smaller(a, b):
    """The smaller of two unsigned words."""
    return (a < b).select(a, b)


def larger(a, b):
    """The larger of two unsigned words."""
    return (a > b).select(a, b)


def at_least(a, least):
    """An int32, raised."""
    return a.less(least).select(a.meet(least), a)


def at_most(a, most):
    """An int32, lowered."""
    return a.less(most).select(a, a.meet(most))


def bits_of(number, width):
    """The bits of a FP32 or FP64 number."""
    return int(np.array(number, f"f{width // 8}").view(f"u{width // 8}"))


class Int(Word):
    """A word that holds a number."""

    OPERATIONS: ClassVar = {
        "add": lambda a, b: a + b,
        "sub": lambda a, b: a - b,
        "mul": lambda a, b: a * b,
        "and": lambda a, b: a & b,
        "or": lambda a, b: a | b,
        "xor": lambda a, b: a ^ b,
        "shl": lambda a, by: a << by,
        "shr": lambda a, by: a >> by,
        "ult": lambda a, b: a < b,
        "equal": lambda a, b: a == b,
        "to": lambda a: a,
        "select": lambda condition, yes, no: yes if condition else no,
        "fadd": lambda a, b: a + b,
        "fsub": lambda a, b: a - b,
        "fless": lambda a, b: a < b,
    }

    def __init__(self, value, width):
        self.value, self.width = int(value) % (1 << width), width

    def __repr__(self):
        return f"{self.value:#x}:{self.width}"

    @property
    def signed(self):
        """The number in two's complement."""
        return self.value - (1 << self.width) * (self.value >> (self.width - 1))

    def apply(self, operation, *others, bits=None):
        if operation == "slt":
            return type(self)(self.signed < others[0].signed, 1)
        values = [other.value for other in others]
        if operation == "cut_off":
            return type(self)(int(np.array(self.value, "u4").view("f4")), 32)
        if operation == "as_float":
            return type(self)(bits_of(self.signed, 32), 32)
        if operation in ("fadd", "fsub", "fless"):
            numbers = np.array([self.value, *values], f"u{self.width // 8}").view(f"f{self.width // 8}")
            result = self.OPERATIONS[operation](*numbers)
            return type(self)(result if bits else bits_of(result, self.width), bits or self.width)
        return type(self)(self.OPERATIONS[operation](self.value, *values), bits or self.width)

    def constant(self, value, width):
        return type(self)(value, width)

    def promise(self, kept):
        assert kept.value, "a promise is broken"


class Unbound(Int):
    """A word that holds a number, and lets promises be broken: what a mutant does is to be seen to its end."""

    def promise(self, kept):
        pass


# --- Rows ---------------------------------------------------------------------------------------------------


class Carrier(NamedTuple):
    """FP32 or FP64: what a kernel reads."""

    width: int
    stored: int
    bias: int

    @property
    def top(self):
        return self.width - 1

    @property
    def infinity(self):
        return ((1 << (self.top - self.stored)) - 1) << self.stored


FP32, FP64 = Carrier(32, 23, 127), Carrier(64, 52, 1023)


# --- Rounding (rounding.pxd) --------------------------------------------------------------------------------


class Rounding:
    """Design A and B of rounding.pxd, for one mode."""

    def __init__(self, mode, chance=None):
        self.mode, self.chance = mode, chance

    def nearest_even(self, odd, half):
        return half - (odd ^ 1)

    def nearest_away(self, half):
        return half

    def toward_positive(self, negative, half):
        return (half + half - 1) & (negative - 1)

    def toward_negative(self, negative, half):
        return (half + half - 1) & (0 - negative)

    def to_odd(self, odd, half):
        return (half + half - 1) & (odd - 1)

    def increment(self, odd, negative, half):
        """What to add below the last kept bit."""
        match self.mode:
            case "nearest_even":
                return self.nearest_even(odd, half)
            case "nearest_away":
                return self.nearest_away(half)
            case "toward_positive":
                return self.toward_positive(negative, half)
            case "toward_negative":
                return self.toward_negative(negative, half)
            case "to_odd":
                return self.to_odd(odd, half)
        return half & 0

    def round_off(self, significand, cut, negative, flip):
        """The significand over 2^cut, rounded."""
        width = significand.width
        significand.promise(cut.differs(0))
        significand.promise(significand < 1 << (width - 2))
        half = significand.constant(1, width) << (cut - 1)
        return (significand + self.increment(((significand >> cut) & 1) ^ flip, negative, half)) >> cut

    def scaled_fraction(self, fraction, down, up):
        """F: the fraction that is cut off, as an integer of as many bits as the random one."""
        down = at_most(at_least(down, 0), fraction.width - 1).to(fraction.width)
        half = (fraction.constant(1, fraction.width) << down) >> 1
        odd = (fraction >> down) & 1
        if self.chance["even"]:
            half = half - ((odd ^ 1) & half.differs(0).to(fraction.width))
        if not self.chance["nearest"]:
            half = half & 0
        return ((fraction + half) >> down) << up

    def round_by_chance(self, significand, cut, random):
        """The significand over 2^cut, rounded stochastically (Design B)."""
        width, bits = significand.width, self.chance["bits"]
        significand.promise(cut.less(1) ^ 1)
        significand.promise(cut.less(width) | (significand < 1 << (width - 2)))
        significand.promise((random < 1 << bits) if bits < width else random.equals(random))
        down = cut - bits
        up = at_least(0 - down, 0)
        cut = at_most(cut, width - 1)
        kept = significand >> cut
        fraction = significand - (kept << cut)
        scaled = self.scaled_fraction(fraction, down, up)
        return kept + self.carries(scaled, random).to(width)

    def carries(self, scaled, random):
        """Whether F + R reaches 2^bits, without a bit more than the lane has."""
        return scaled > 0 - random + ((1 << self.chance["bits"]) - 1)


# --- Narrowing (fields.pxd, narrow.pxd, narrow.pyx) ---------------------------------------------------------


class Narrowing(Rounding):
    """A finite number or an infinity to a floating format; `row` holds the numbers of narrow.Target."""

    def __init__(self, row):
        super().__init__(row.mode, row.chance)
        self.row = row
        self.carrier = FP32 if row.source_size == 4 else FP64
        self.lane = 64 if row.source_size == row.target_size == 8 else 32

    def significand32(self, magnitude):
        """FP32 to 1.23."""
        return smaller(magnitude, (magnitude & 0x7FFFFF) | 0x800000)

    def significand64(self, magnitude):
        """FP64 to 1.52."""
        return smaller(magnitude, (magnitude & 0xFFFFFFFFFFFFF) | 0x10000000000000)

    def sticky(self, magnitude):
        """Whether one of the 23 bits that do not fit is set."""
        return (magnitude & 0x7FFFFF).differs(0)

    def significand64_jammed(self, magnitude):
        """FP64 to 1.29."""
        return (self.significand64(magnitude) >> 23).to(32) | self.sticky(magnitude).to(32)

    def normalised(self, magnitude):
        """FP64 to 1.52 with a hidden bit for all but zero, and the exponent that goes on below 1."""
        subnormal = magnitude < 0x10000000000000
        two_to_52 = magnitude.constant(0x4330000000000000, 64)
        raised = ((magnitude & 0xFFFFFFFFFFFFF) | two_to_52).minus(two_to_52) & 0x7FFFFFFFFFFFFFFF
        raised = subnormal.select(raised, magnitude)
        exponent = (raised >> 52) - subnormal.to(64) * 1074
        return (raised & 0xFFFFFFFFFFFFF) | (magnitude.differs(0).to(64) << 52), exponent

    def unpacked(self, bits):
        """Significand and exponent field, without the sign; the exponent not so low that a shift leaves the lane."""
        stored, lowest = self.carrier.stored, self.row.lowest
        if self.lane == 64:
            significand, exponent = self.normalised(bits)
            return significand << 9, at_least(exponent, lowest)
        exponent = (larger(bits, bits.constant(lowest << stored, bits.width)) >> stored).to(32)
        return (self.significand32 if self.carrier is FP32 else self.significand64_jammed)(bits), exponent

    def clipped(self, exponent):
        """A FP64 exponent, lowered so that the magnitude fits the lane."""
        return exponent if self.carrier is FP32 else at_most(exponent, self.row.rebias + self.row.exponent_end)

    def lost(self, exponent):
        """Step 1: the bits that a number with this exponent field would lose if it had no more than others."""
        return 0 - exponent + self.row.knee

    def cut_of(self, exponent):
        """Step 2: how many bits of the significand it loses, not less than `cut`."""
        return at_least(self.lost(exponent), self.row.cut)

    def flip_of(self, exponent):
        """Whether the parity of a code differs from that of its significand."""
        first = self.row.rebias + 1
        return (at_least(exponent, first) - first) & self.row.code_parity

    def round_by(self, negative, significand, cut, flip, random):
        """Step 3: significand / 2^cut, rounded."""
        if self.mode == "stochastic":
            return self.round_by_chance(significand, cut, random)
        return self.round_off(significand, cut, negative, flip)

    def joined(self, exponent, kept):
        """Step 4: the hidden bit of `kept`, and a carry, add to the exponent field."""
        return (self.cut_of(exponent) - self.lost(exponent) << self.row.stored) + kept

    def lowered(self, magnitude, negative):
        """Step 5: not more than the ceiling of its sign."""
        directed = self.mode in ("toward_positive", "toward_negative")
        return smaller(magnitude, self.of_sign(negative.to(1) & directed, self.row.ceiling))

    def of_sign(self, negative, pair):
        """One of two numbers, for a positive number and for a negative one."""
        above, beneath = (negative.constant(number, self.lane) for number in pair)
        return negative.select(beneath, above)

    def tiny(self, negative, significand, exponent, random):
        """Whether a number is tiny: below the smallest normal one, before rounding or after."""
        row, one = self.row, significand.constant(1, self.lane)
        cut, flip = self.cut_of(exponent), self.flip_of(exponent)
        below = significand.differs(0) & (
            cut.constant(row.cut, self.lane).less(cut) | (significand < (one << (row.stored + row.cut)))
        )
        wider = self.round_by(negative, significand, cut - 1, flip ^ row.code_parity, random)
        return below & ((wider < (one << (row.stored + 1))) | row.tiny_before)

    def flags_of(self, negative, significand, exponent, over, random):
        """The flags of one finite number."""
        cut = at_most(self.cut_of(exponent), self.lane - 1)
        lost = significand & ((significand.constant(1, self.lane) << cut) - 1)
        inexact = lost.differs(0) | over
        tiny = self.tiny(negative, significand, exponent, random)
        return over.to(8) * OVERFLOW | (tiny & inexact).to(8) * UNDERFLOW | inexact.to(8) * INEXACT

    def with_sign(self, magnitude, source):
        """The magnitude with the sign of the source; a zero may drop it."""
        signed = (source >> (self.carrier.width - self.lane)).to(self.lane)
        sign = signed & (0 - magnitude | self.row.zero_drops_sign - 1)
        return self.capped(magnitude | (0 - (sign >> (self.lane - 1)) & self.row.negative_bits))

    def capped(self, code):
        """Not more than the code that all ones stand for."""
        return smaller(code, code.constant(self.row.everything % (1 << self.lane), self.lane))

    def finite(self, source, random=None):
        """Design B: what the finite path writes, and the flags if they are told with it."""
        row, top = self.row, self.carrier.top
        negative = (source >> top).to(self.lane)
        significand, exponent = self.unpacked(source & ((1 << top) - 1))
        exponent = self.clipped(exponent)
        kept = self.round_by(negative, significand, self.cut_of(exponent), self.flip_of(exponent), random)
        magnitude = self.joined(exponent, kept)
        flags = self.flags_of(negative, significand, exponent, magnitude > row.largest, random)
        return self.with_sign(self.lowered(magnitude, negative), source), flags

    def fixed(self, bits):
        """Design D: the magnitude as a number whose last bit that stays is the bit `gradual_cut`."""
        row, in_bytes = self.row, self.row.target_size == 1
        scaled = smaller(bits, bits.constant(row.first, 32)) + row.lift
        beyond = larger(bits, bits.constant(row.first, 32)) - row.first
        whole = scaled.cut_off()
        if in_bytes:
            return self.raised(whole + (beyond << row.up), smaller(bits, bits.constant(1, 32)))
        if self.mode == "stochastic":
            return whole + beyond
        return self.lowered_zero((whole | self.lost_behind(whole, scaled)) + beyond, bits)

    def lost_behind(self, whole, scaled):
        """The sticky bit."""
        return whole.as_float().differs(scaled).to(32)

    def looks_closely(self):
        """Whether the mode tells what is hardly above zero from zero."""
        return self.mode in ("toward_positive", "toward_negative", "to_odd")

    def raised(self, fixed, least):
        """What is not zero is at least 1."""
        return larger(fixed, least) if self.looks_closely() else fixed

    def lowered_zero(self, fixed, bits):
        """Zero is zero."""
        return fixed & 0 - bits.differs(0).to(32) if self.looks_closely() else fixed

    def gradual_cut(self):
        return 24 if self.row.target_size == 1 else self.row.cut

    def moved(self, random):
        """The random integer with its top bit at the first one that is cut off."""
        cut, bits = self.gradual_cut(), self.chance["bits"]
        up = max(cut - bits, 0)
        return ((random >> max(bits - cut, 0)) << up) + ((1 << up) >> 1 if self.chance["nearest"] else 0)

    def unsure(self, fixed):
        """Whether what lies below the fixed point might carry."""
        return (fixed & ((1 << self.gradual_cut()) - 1)).equals((1 << self.gradual_cut()) - 1)

    def gradual(self, source, random=None):
        """Design D: what the finite path writes as bytes and half words."""
        cut, bits = self.gradual_cut(), source & 0x7FFFFFFF
        fixed = self.fixed(smaller(bits, bits.constant(self.row.limit, 32)))
        if self.mode == "stochastic":
            fixed = fixed + self.moved(random)
            return self.unsure(fixed).select(self.finite(source, random)[0], self.with_sign(fixed >> cut, source))
        half = source.constant(1 << (cut - 1), 32)
        return self.with_sign((fixed + self.increment((fixed >> cut) & 1, source >> 31, half)) >> cut, source)

    def flagged(self, source):
        """Design A of flags.pxd: the flags of a finite number."""
        row, carrier = self.row, self.carrier
        negative, bits = (source >> carrier.top).to(1), source & ((1 << carrier.top) - 1)
        significand, exponent = self.unpacked(bits)
        cut = at_most(self.cut_of(exponent), self.lane - 1)

        def of_sign(pair):
            return negative.select(bits.constant(pair[1], bits.width), bits.constant(pair[0], bits.width))

        over, tiny = bits >= of_sign(row.over_first), bits < of_sign(row.tiny_end)
        inexact = (significand & ((significand.constant(1, self.lane) << cut) - 1)).differs(0) | over
        return over.to(8) * OVERFLOW | (tiny & inexact).to(8) * UNDERFLOW | inexact.to(8) * INEXACT

    def patched(self, source, given, flags):
        """Design D without NaN and the flush rules: zeros, what lies below an unsigned format, infinities."""
        row = self.row
        negative, bits = (source >> self.carrier.top).to(1), source & ((1 << self.carrier.top) - 1)
        nothing, is_infinity = bits.equals(0), bits.equals(self.carrier.infinity)
        is_below = negative & row.unsigned & (given.differs(0) | row.below_always) & ~nothing
        given = nothing.select(self.of_sign(negative, row.zero), given)
        given = is_below.select(row.below, given)
        given = is_infinity.select(self.of_sign(negative, row.infinity), given)
        overflows = self.of_sign(negative, row.infinity_overflows).to(8) * (OVERFLOW | INEXACT)
        flags = nothing.select(row.zero_flags, flags)
        flags = is_below.select(OVERFLOW | INEXACT, flags)
        return given, is_infinity.select(overflows, flags)

    def shrunk(self, code):
        """The code as it is stored (shrink.pyx): a format without zero was rounded to as if it had one."""
        return larger(code, code.constant(self.row.offset, self.lane)) - self.row.offset

    def run(self, source, random=None):
        """What is written for a run of this one number, and its flags: the patch loop only where it needs it."""
        if self.row.target_size < 4:
            given, flags = self.gradual(source, random), self.flagged(source)
        else:
            given, flags = self.finite(source, random)
            flags = flags if self.mode == "stochastic" else self.flagged(source)
        code, patched = self.patched(source, given, flags)
        needed = (source & ((1 << self.carrier.top) - 1)) >= (0 if self.row.always_patch else self.carrier.infinity)
        return self.shrunk(needed.select(code, given)), needed.select(patched, flags)

    def ordinary(self, source):
        """Design C: whether a number is ordinary, and what is written for one, with its flags."""
        row, top, stored = self.row, self.carrier.top, self.carrier.stored
        cut, rebias = stored - row.stored, (row.rebias << stored) % (1 << self.carrier.width)
        half = source.constant(1 << (cut - 1), source.width)
        negative = source >> top
        bits = source & ((1 << top) - 1 + (row.unsigned << top))
        ordinary = (bits - row.ordinary_zero) >= row.ordinary_first - row.ordinary_zero
        ordinary = ordinary & (bits < row.ordinary_end)
        raised = larger(bits, bits.constant(rebias, bits.width))
        rounded = (raised - rebias + self.increment((raised >> cut) & 1, negative, half)) >> cut
        code = rounded | ((source >> (top - row.sign_shift)) & row.sign_bit)
        return ordinary, code, (raised & ((1 << cut) - 1)).differs(0).to(8) * INEXACT


# --- To an integer (integer.pyx) ----------------------------------------------------------------------------


class ToInteger(Rounding):
    """Any number to an integer; `row` holds the numbers of integer.Range. NaN and flush_input are not modelled."""

    def __init__(self, row):
        super().__init__(row.mode, row.chance)
        self.row = row
        self.carrier = FP32 if row.source_size == 4 else FP64
        self.point = self.carrier.stored + self.carrier.bias  # the exponent field of a number whose last bit weighs 1

    def unpacked(self, magnitude):
        """Significand and exponent field."""
        hidden = magnitude.constant(1 << self.carrier.stored, magnitude.width)
        normal = magnitude >= hidden
        exponent = normal.select(magnitude, hidden) >> self.carrier.stored
        return (magnitude & (hidden - 1)) | normal.select(hidden, hidden & 0), exponent

    def cut_of(self, exponent):
        """Design A and B: the bits of the doubled significand behind the binary point; at least one."""
        return at_least(0 - exponent + (self.point + 1), 1)

    def round_by(self, negative, doubled, cut, random):
        """Design A: rounded at the binary point."""
        if self.mode == "stochastic":
            return self.round_by_chance(doubled, cut, random)
        return self.round_off(doubled, at_most(cut, self.carrier.top), negative, doubled & 0)

    def moved(self, significand, exponent):
        """What is an integer already and only moves left; what leaves the lane is 0."""
        left = at_least(exponent - self.point, 0)
        fits = left.less(self.carrier.top + 1)
        return (significand << at_most(left, self.carrier.top)) & (0 - fits.to(significand.width))

    def beyond(self, integer, most, exponent):
        """Whether a number is out of range; one that leaves the lane is."""
        return (integer > most) | exponent.constant(self.carrier.bias + self.carrier.top, exponent.width).less(exponent)

    def run(self, source, random=None):
        """The code, and the flags."""
        row, top = self.row, self.carrier.top
        negative, magnitude = source >> top, source & ((1 << top) - 1)
        significand, exponent = self.unpacked(magnitude)
        doubled, cut = significand << 1, self.cut_of(exponent)
        whole = exponent.constant(self.point, exponent.width).less(exponent)
        rounded = self.round_by(negative, doubled, cut, random)
        integer = whole.select(self.moved(significand, exponent), rounded)

        def of_sign(pair):
            return negative.to(1).select(source.constant(pair[1], top + 1), source.constant(pair[0], top + 1))

        over = self.beyond(integer, of_sign(row.most), exponent)
        integer = magnitude.equals(self.carrier.infinity).select(0, integer) if row.wrap else integer
        integer = (integer ^ (0 - negative)) + negative
        given = integer if row.wrap else over.select(of_sign(row.beyond), integer)
        over = over if self.mode == "stochastic" else magnitude >= of_sign(row.over_first)
        flags = over.select(INVALID, self.lost(magnitude).to(8) * INEXACT)
        return given & row.code_mask, flags

    def lost(self, magnitude):
        """Design D: whether a number is no integer."""
        if self.carrier is FP32:
            clamped = smaller(magnitude, magnitude.constant(0x4B800000, 32))
            return clamped.cut_off().as_float().differs(clamped)
        significand, exponent = self.unpacked(magnitude)
        cut = at_most(at_least(0 - exponent + self.point, 0), self.carrier.top)
        return (significand & ((magnitude.constant(1, 64) << cut) - 1)).differs(0)


class Proposal(ToInteger):
    """Design C, with propose.pxd: what a number proposes by FPU arithmetic, and whether that is beyond doubt."""

    HALF = 0.5

    def real(self, number, source):
        """A FP32 or FP64 constant."""
        return source.constant(bits_of(number, source.width), source.width)

    def certain(self):
        """Bits of the distance up to which nobody doubts."""
        if self.carrier is FP64:
            return 0x3FDFFE0000000000
        nearest = self.mode in ("nearest_even", "nearest_away")
        return 0x3EFFFFFF if nearest else 0x3EFFF000 if self.row.most[0] < 500 else 0x3EFC0000

    def hopeful(self):
        """Whether anything is proposed at all."""
        return self.row.saturates and self.row.most[0] < (1 << 16 if self.carrier is FP32 else 1 << 33)

    def propose(self, u, least, most):
        """The integer, and the bits of its distance."""
        magic = self.real(12582912.0 if self.carrier is FP32 else 6755399441055744.0, u)
        if self.mode == "toward_positive":
            u = u.plus(self.real(self.HALF, u))
        elif self.mode not in ("nearest_even", "nearest_away"):
            u = u.minus(self.real(self.HALF, u))
        u = most.below(u).select(most, u)  # NaN stays
        u = u.below(least).select(least, u)
        shifted = u.plus(magic)
        q = shifted - magic
        distance = u.minus(shifted.minus(magic)) & ((1 << (u.width - 1)) - 1)
        if self.mode == "toward_zero":
            q = q + q.less(0).to(q.width)
        if self.mode == "to_odd":
            q = q + (~q & 1)
        return q, distance

    def proposed(self, source):
        """Whether there is no doubt, and the code."""
        high, low = self.row.most[0], -self.row.most[1]
        q, distance = self.propose(source, self.real(low - 1.25, source), self.real(high + 1.25, source))
        q = at_most(at_least(q, low), high)
        return (distance > self.certain()) ^ 1, q & self.row.code_mask


class Inside(ToInteger):
    """Design C: a number below 2^61 to an integer of 64 bits that saturates."""

    UP = 9  # from the significand's own place to where the binary point lies inside the lane

    def hopeful(self):
        """Whether this is tried at all."""
        return self.row.saturates and self.row.most[0] > 1 << 61

    def end(self):
        """Bits of the smallest magnitude that is too large."""
        return 0x43C0000000000000

    def inside(self, source):
        """Whether a number is, and its code."""
        negative, magnitude = source >> 63, source & ((1 << 63) - 1)
        significand, exponent = self.unpacked(smaller(magnitude, magnitude.constant(self.end() - 1, 64)))
        cut = at_most(0 - exponent + (self.point + self.UP), 63)
        integer = self.round_off(significand << self.UP, cut, negative, negative & 0)
        return magnitude < self.end(), at_least((integer ^ (0 - negative)) + negative, -self.row.most[1])


class FixedPoint:
    """affine.pyx, Design F, with propose.pxd, Design D: what a product proposes, and whether that is beyond doubt."""

    INTEGER, BITS = 256, 15  # the lowest code in a sum; bits of a fraction

    def __init__(self, low, high, zero_point, shift, nearest, covers):
        one, below, above = 1 << self.BITS, zero_point - low, high - zero_point
        near, far = (below + above, below + above) if covers else (below, above)
        largest, farthest = abs(self.INTEGER + 0.5 + shift + near), max(abs(near), abs(far)) - 0.5 + abs(shift)
        unit = max(2.0 ** (math.frexp(largest + 1)[1] - 24), 1 / one)
        off = (int(self.error(farthest, nearest) / unit) + 1) * unit
        self.low, self.base = low, bits_of(self.INTEGER + 0.5 + shift + below + off, 32)
        self.doubtful = int(min(2 * off * one, one))
        self.least = bits_of(self.INTEGER + 0.5, 32)
        self.most = self.least + (high - low) * one

    def error(self, farthest, nearest):
        """How far off a sum is at a boundary between two codes."""
        return (farthest * 2.0**-22 + 1 / (1 << self.BITS)) * (0.5 if nearest else 1) + 2.0**-25

    def proposed(self, product):
        """Whether there is no doubt, and the code."""
        total = product.plus(product.constant(self.base, 32))
        bits = at_most(at_least(total, self.least), self.most)
        fraction, finite = bits & ((1 << self.BITS) - 1), (total & 0x7FFFFFFF) < 0x7F800000
        return (fraction >= self.doubtful) & finite, ((bits >> self.BITS) + self.low).to(8)


# --- From an integer of 64 bits (whole.pyx) -----------------------------------------------------------------


class Whole:
    """Design A: an integer's sign, its magnitude moved up to the top bit, and the exponent field that it then has."""

    def raised(self, magnitude):
        exponent = magnitude.constant(1023 + 63, 64)
        for step in (32, 16, 8, 4, 2, 1):
            up = 0 - (magnitude >> (64 - step)).equals(0).to(64) & step
            magnitude, exponent = magnitude << up, exponent - up
        return magnitude, exponent

    def unpacked_integer(self, source):
        negative = (source >> 63) & self.signed
        return negative, *self.raised((source ^ (0 - negative)) + negative)

    def jammed(self, full):
        """Room above: two bits fall off at the bottom and stay as a sticky one."""
        return (full >> 2) | self.low_bits(full).to(64)

    def low_bits(self, full):
        return (full & 3).differs(0)


class FromWhole(Whole, Rounding):
    """An integer of 64 bits to FP64; `row` holds the numbers of whole.Whole."""

    def __init__(self, row):
        super().__init__(row.mode, row.chance)
        self.signed = row.signed

    def run(self, source, random=None):
        """The bits, and the flags."""
        negative, full, exponent = self.unpacked_integer(source)
        flags = (full & 0x7FF).differs(0).to(8) * INEXACT
        if self.mode == "stochastic":
            kept = self.round_by_chance(full, source.constant(11, 64), random)
        else:
            kept = self.round_off(self.jammed(full), source.constant(9, 64), negative, source.constant(0, 64))
        bits = ((exponent - 1) << 52) + kept
        return source.differs(0).select(bits | (negative << 63), 0), flags


class WholeToCodes(Whole, Narrowing):
    """An integer of 64 bits to a floating format: Design B; `row` holds the numbers of narrow.Target."""

    def __init__(self, row, signed):
        super().__init__(row)
        self.signed = signed

    def all_bits_count(self, cut):
        """Whether the two lowest bits are among those that a random integer is compared with."""
        return cut.less(34)

    def run(self, source, random=None):
        """The code, and the flags."""
        row = self.row
        negative, full, field = self.unpacked_integer(source)
        significand, exponent = self.jammed(full), at_least(self.clipped(field), row.lowest)
        cut = self.cut_of(exponent)
        kept = self.round_by(negative, significand, cut, self.flip_of(exponent), random)
        if self.mode == "stochastic":
            exact = self.round_by_chance(full, at_most(cut, 34) + 2, random)
            kept = self.all_bits_count(cut).select(exact, kept)
        magnitude = self.joined(exponent, kept)
        flags = self.flags_of(negative, significand, exponent, magnitude > row.largest, random)
        magnitude = smaller(magnitude, self.of_sign(negative.to(1), row.ceiling))
        given = magnitude | (0 - negative & row.sign_bit)
        below = negative.to(1) & row.unsigned & (magnitude.differs(0) | row.below_always)
        zero, nothing = source.equals(0), magnitude.equals(0)
        given = nothing.select(self.of_sign(negative.to(1), row.zero), given)
        given = below.select(row.below, zero.select(row.zero[0], given))
        flags = below.select(OVERFLOW | INEXACT, zero.select(row.zero_flags, flags))
        return self.shrunk(given), flags
