"""What a conversion is, in the words of SMT-LIB, and a solver to ask whether the steps of steps.py do that.

The claims rest on the solver's own `fp.to_fp`, `fp.roundToIntegral` and `fp.to_sbv`, not on significands and shifts.
Where SMT-LIB has no such format or mode, the definition is one sentence above it:

- Every floating format has the numbers of an IEEE format (eb, sb) whose smallest normal number is moved to its own
  one. Scaling by that power of two, exact, gives its codes, and codes beyond its largest one mark an overflow.
- to_odd: the number toward zero; where that is not the number itself, whichever of its neighbours has an odd code.
- stochastic: with N digits more, the code of the same format ends in F, the fraction ν·2^N, rounded by the rule of the
  variant (down, ties away, ties to even). So the result is (code + R) / 2^N, cut off.

Sources: SMT-LIB theory FloatingPoint (Brain, Tinelli, Rümmer and Wahl, ARITH 2015); to_odd: Boldo and Melquiond, 2008.
"""

from __future__ import annotations

from functools import reduce
from typing import ClassVar

import bitwuzla
from bitwuzla import Kind

from steps import FP32, FP64, INEXACT, INVALID, OVERFLOW, UNDERFLOW, Word

SMT_MODES = {
    "nearest_even": bitwuzla.RoundingMode.RNE,
    "nearest_away": bitwuzla.RoundingMode.RNA,
    "toward_zero": bitwuzla.RoundingMode.RTZ,
    "toward_positive": bitwuzla.RoundingMode.RTP,
    "toward_negative": bitwuzla.RoundingMode.RTN,
}
CHANCE_MODES = {"A": "toward_zero", "B": "nearest_away", "C": "nearest_even"}  # how ν · 2^N becomes F
SORTS = {FP32: (8, 24), FP64: (11, 53)}
MANAGER = bitwuzla.TermManager()
WIDE = 128  # bits that hold any code here, with all the digits that stochastic rounding looks at

# --- Words that hold terms ----------------------------------------------------------------------------------


class Term(Word):
    """A word that holds a bit-vector term of a solver."""

    KINDS: ClassVar = {
        "add": Kind.BV_ADD,
        "sub": Kind.BV_SUB,
        "mul": Kind.BV_MUL,
        "and": Kind.BV_AND,
        "or": Kind.BV_OR,
        "xor": Kind.BV_XOR,
        "shl": Kind.BV_SHL,
        "shr": Kind.BV_SHR,
        "equal": Kind.BV_COMP,
    }

    def __init__(self, question, term):
        self.question, self.term, self.width = question, term, term.sort().bv_size()

    def apply(self, operation, *others, bits=None):
        ask, terms = self.question, [self.term, *(other.term for other in others)]
        match operation:
            case "ult":
                return ask.word_of(ask.term(Kind.BV_ULT, *terms))
            case "slt":
                return ask.word_of(ask.term(Kind.BV_SLT, *terms))
            case "select":
                return Term(ask, ask.term(Kind.ITE, ask.holds(self), *terms[1:]))
            case "to" if bits > self.width:
                return Term(ask, ask.term(Kind.BV_ZERO_EXTEND, *terms, indices=[bits - self.width]))
            case "to":
                return Term(ask, ask.term(Kind.BV_EXTRACT, *terms, indices=[bits - 1, 0]))
            case "fadd" | "fsub" | "fless" | "cut_off" | "as_float":
                return ask.by_fpu(operation, self, *others)
        return Term(ask, ask.term(self.KINDS[operation], *terms))

    def constant(self, value, width):
        return self.question.constant(value, width)

    def promise(self, kept):
        self.question.promises.append(self.question.holds(kept))


class Question:
    """One question to the solver: constants it may choose, what they are to fulfil, and the claim it may refute.

    A bitwuzla term must not outlive its manager, and does not keep it. So there is one manager, and a question holds
    bare terms: a word refers to its question, never the other way, and no garbage collector chooses the order.
    """

    def __init__(self):
        self.assumptions, self.promises, self.chosen, self.state = [], [], {}, {}

    def term(self, kind, *terms, indices=()):
        """A term; bitwuzla wants lists."""
        return MANAGER.mk_term(kind, list(terms), list(indices))

    def word(self, kind, *terms, indices=()):
        """A term of bits as a word."""
        return Term(self, self.term(kind, *terms, indices=indices))

    def constant(self, value, width):
        """A word that holds a number."""
        return Term(self, MANAGER.mk_bv_value(MANAGER.mk_bv_sort(width), value % (1 << width)))

    def any(self, name, width):
        """A word that the solver chooses."""
        self.chosen[name] = MANAGER.mk_const(MANAGER.mk_bv_sort(width), name)
        return Term(self, self.chosen[name])

    def mode(self, name):
        """A rounding mode of SMT-LIB."""
        return MANAGER.mk_rm_value(SMT_MODES[name])

    def holds(self, word):
        """A word of one bit as a Boolean."""
        return self.term(Kind.EQUAL, word.term, self.constant(1, 1).term)

    def word_of(self, boolean):
        """A Boolean as a word of one bit."""
        return Term(self, self.term(Kind.ITE, boolean, self.constant(1, 1).term, self.constant(0, 1).term))

    def number(self, word, sort):
        """The floating-point number that has these bits."""
        return self.term(Kind.FP_TO_FP_FROM_BV, word.term, indices=sort)

    def power(self, exponent, sort):
        """2^exponent, a normal number of the sort."""
        eb, sb = sort
        return self.number(self.constant((exponent + (1 << (eb - 1)) - 1) << (sb - 1), eb + sb), sort)

    def to_fp(self, mode, number, sort):
        """SMT-LIB's conversion."""
        return self.term(Kind.FP_TO_FP_FROM_FP, self.mode(mode), number, indices=sort)

    def assume(self, boolean):
        """Restrict what the solver chooses."""
        self.assumptions.append(boolean)

    def any_number(self, carrier):
        """A word of FP32 or FP64 bits that the solver chooses, NaN apart, the number it is, and its sort."""
        source, sort = self.any("source", carrier.width), SORTS[carrier]
        number = self.number(source, sort)
        self.assume(self.term(Kind.NOT, self.term(Kind.FP_IS_NAN, number)))
        return source, number, sort

    def is_true(self, kind, *numbers):
        """A predicate of SMT-LIB's as a word."""
        return self.word_of(self.term(kind, *numbers))

    def bits_of(self, name, number, sort):
        """The bits of a number that is not NaN: SMT-LIB has no function for them, so the solver finds them."""
        bits = self.any(name, sum(sort))
        self.assume(self.term(Kind.EQUAL, self.number(bits, sort), number))
        return bits

    def by_fpu(self, operation, *words):
        """What an FPU does in whatever state: any rounding mode, subnormals taken for zero or made zero, or not."""
        sort = {carrier.width: sort for carrier, sort in SORTS.items()}[words[0].width]
        mode = self.state.setdefault("mode", MANAGER.mk_const(MANAGER.mk_rm_sort(), "fpu_mode"))
        if operation == "as_float":
            result = self.term(Kind.FP_TO_FP_FROM_SBV, mode, words[0].term, indices=sort)
            return self.bits_of(f"result {len(self.chosen)}", result, sort)
        numbers = [self.flushed("daz", self.number(word, sort), sort) for word in words]
        if operation == "fless":
            return self.is_true(Kind.FP_LT, *numbers)
        if operation == "cut_off":  # C's cast cuts off in every rounding mode
            return self.word(Kind.FP_TO_SBV, self.mode("toward_zero"), *numbers, indices=[32])
        kind = {"fadd": Kind.FP_ADD, "fsub": Kind.FP_SUB}[operation]
        result = self.term(kind, mode, *numbers)
        return self.bits_of(f"result {len(self.chosen)}", self.flushed("ftz", result, sort), sort)

    def flushed(self, flag, number, sort):
        """The number, or a zero of its sign where it is subnormal and the FPU's flag is set."""
        self.state.setdefault(flag, MANAGER.mk_const(MANAGER.mk_bool_sort(), f"fpu_{flag}"))
        zero = self.constant(0, sum(sort))
        zero = self.is_true(Kind.FP_IS_NEG, number).select(zero | (1 << (sum(sort) - 1)), zero)
        lost = self.term(Kind.AND, self.state[flag], self.term(Kind.FP_IS_SUBNORMAL, number))
        return self.term(Kind.ITE, lost, self.number(zero, sort), number)

    def formula(self, claim, promises=True):
        """What has no model where the claim holds and every promise is kept."""
        claims = [self.holds(claim), *(self.promises if promises else ())]
        broken = self.term(Kind.NOT, reduce(lambda a, b: self.term(Kind.AND, a, b), claims))
        return reduce(lambda a, b: self.term(Kind.AND, a, b), self.assumptions, broken)

    def refute(self, claim, promises=True):
        """The constants with which the claim fails, or a promise is broken; None where it is proved."""
        options = bitwuzla.Options()
        options.set(bitwuzla.Option.PRODUCE_MODELS, True)
        solver = bitwuzla.Bitwuzla(MANAGER, options)
        solver.assert_formula(self.formula(claim, promises))
        result = solver.check_sat()
        assert result in (bitwuzla.Result.SAT, bitwuzla.Result.UNSAT), result
        if result == bitwuzla.Result.UNSAT:
            return None
        return {name: int(solver.get_value(term).value(10)) for name, term in self.chosen.items()}

    def smtlib(self, claim):
        """The question as a text that any solver reads."""
        solver = bitwuzla.Bitwuzla(MANAGER, bitwuzla.Options())
        solver.assert_formula(self.formula(claim))
        return solver.print_formula()


# --- To a floating format -----------------------------------------------------------------------------------


class Rounded:
    """A number to some digits above a smallest normal number 2^emin, in an IEEE format whose codes are counted.

    magnitude: the code without its sign, with the exponent unbounded above as far as 2^fields reaches.
    exact: whether this is the number itself.
    """

    def __init__(self, ask, number, sort, digits, emin, fields, mode):
        least = 2 - (1 << (fields - 1))  # the exponent of the smallest normal number of (fields, digits)
        scale = least - emin
        reach = abs(scale) + (1 << fields) + 2400  # every number on the way stays normal
        wide = (reach.bit_length() + 1, max(sort[1], digits))
        number = ask.to_fp("nearest_even", number, wide)
        if scale:
            number = ask.term(Kind.FP_MUL, ask.mode("nearest_even"), number, ask.power(scale, wide))
        result = ask.to_fp(mode, number, (fields, digits))
        bits = ask.bits_of(f"{mode} to {digits} digits above 2^{emin}", result, (fields, digits))
        self.magnitude = bits.to(fields + digits - 1).to(WIDE)
        self.exact = ask.is_true(Kind.EQUAL, ask.to_fp("nearest_even", result, wide), number)


class ToFormat:
    """A number of a sort, not NaN, to a format, by docs/semantics.md: `code` and `flags`.

    The format is the reference's. `chance` has the bits and the variant of a stochastic rounding, whose random integer
    the solver chooses.
    """

    def __init__(self, ask, number, sort, row, mode, overflow="ieee", tininess="after", chance=None):
        self.ask, self.number, self.sort, self.row, self.mode, self.chance = ask, number, sort, row, mode, chance
        self.random = ask.any("random", chance["bits"]) if chance else None
        self.negative = ask.is_true(Kind.FP_IS_NEG, number)
        self.is_infinity = ask.is_true(Kind.FP_IS_INF, number)
        self.is_zero = ask.is_true(Kind.FP_IS_ZERO, number)
        # Step 4. The smallest normal number is 2^emin; without zero, the codes begin with it.
        emin, fields = row.emin, row.exponent_bits + 1
        magnitude, inexact = self.rounded(emin, fields)
        over = (magnitude > row.largest + (not row.has_zero)) & ~self.is_infinity
        # Tiny: below 2^emin, before rounding or when the exponent is unbounded below, too.
        wide = (13, sort[1])
        size = ask.to_fp("nearest_even", ask.term(Kind.FP_ABS, number), wide)
        tiny = ask.is_true(Kind.FP_LT, size, ask.power(emin, wide))
        if tininess == "after":
            fields = max(13, fields + 1)
            least = 2 - (1 << (fields - 1))
            least += (emin - least) % 2  # a parity that looks at codes sees the same ones
            unbounded, _ = self.rounded(least, fields)
            tiny = unbounded < (emin - least + 1) << row.significand_bits
        self.code, self.flags = self.projected(magnitude, inexact, over, tiny, overflow)

    def rounded(self, emin, fields):
        """Step 4: the code of the magnitude, and whether inexact."""
        t, ask = self.row.significand_bits, self.ask

        def to(digits, mode):
            return Rounded(ask, self.number, self.sort, digits, emin, fields, mode)

        if t and self.mode in SMT_MODES:
            result = to(t + 1, self.mode)
            return result.magnitude, ~result.exact
        below = to(t + 2, "toward_zero")
        lower, guard = below.magnitude >> 1, below.magnitude.to(1)
        exact = below.exact & ~guard
        if self.chance:
            longer = to(t + 1 + self.chance["bits"], CHANCE_MODES[self.chance["variant"]])
            return (longer.magnitude + self.random.to(WIDE)) >> self.chance["bits"], ~exact
        # One digit is all there is, or the mode is not SMT-LIB's: the two neighbours, and the digit after them.
        tie, above_half = below.exact & guard, ~below.exact & guard
        odd = lower.differs(0) if not t and self.row.ties == "magnitude" else lower.to(1)
        carry = {
            "nearest_even": above_half | (tie & odd),
            "nearest_away": guard,
            "toward_zero": guard & 0,
            "toward_positive": ~exact & ~self.negative,
            "toward_negative": ~exact & self.negative,
            "to_odd": ~exact & ~odd,
        }[self.mode]
        return lower + carry.to(WIDE), ~exact

    def projected(self, magnitude, inexact, over, tiny, overflow):
        """Steps 2 and 5 to 7: the code, and the flags."""
        row, ask = self.row, self.ask
        sign = self.negative.to(WIDE) * row.sign_bit
        nothing = magnitude.equals(0)
        flags = (inexact | over).to(8) * INEXACT | over.to(8) * OVERFLOW | (tiny & (inexact | over)).to(8) * UNDERFLOW
        if not row.has_zero:  # zero, and what is rounded to it, becomes the smallest number
            magnitude = nothing.select(0, magnitude - 1)
            flags = self.is_zero.select(UNDERFLOW | INEXACT, flags)
        # 5. Overflow: infinity, or NaN in its place, or the largest number, by direction; a rule may saturate.
        largest = sign | row.largest
        zero = ask.constant(0, WIDE)
        nan = {
            "ieee": zero | row.quiet_bit | (row.infinity or 0),
            "all_ones": sign | row.ones,
            "negative_zero": zero | row.sign_bit,
            None: largest,
        }[row.nan]
        away = {"toward_positive": ~self.negative, "toward_negative": self.negative}.get(self.mode, self.negative | 1)
        if self.mode in ("toward_zero", "to_odd"):
            away = away & 0
        directed = away.select(sign | row.infinity if row.has_infinity else nan, largest)
        beyond = largest if overflow in ("saturate", "saturate_finite") else directed
        code = sign | magnitude if row.signed_zero else nothing.select(0, sign | magnitude)
        code = over.select(beyond, code)
        # 2. Infinity stays, or is an overflow like any other.
        stays = row.has_infinity and overflow != "saturate"
        infinite = largest if overflow == "saturate" else directed
        code = self.is_infinity.select(sign | row.infinity if stays else infinite, code)
        flags = self.is_infinity.select(ask.constant(0 if stays else OVERFLOW | INEXACT, 8), flags)
        # Below the range of an unsigned format.
        if not row.signed:
            below = self.negative & (~nothing | self.is_infinity)
            undefined = {"ieee": below, "saturate_finite": self.is_infinity, "saturate": below & 0}[overflow]
            code = below.select(undefined.select(nan if row.nan else zero, zero), code)
            flags = below.select(OVERFLOW | INEXACT, flags)
        return code, flags


def has_sort(row):
    """Tell whether SMT-LIB has the format itself."""
    return row.signed and row.nan == "ieee" and row.bias == (1 << (row.exponent_bits - 1)) - 1


def is_fp_to_fp(ask, code, number, row, mode):
    """Whether a code is what SMT-LIB's own conversion gives."""
    sort = (row.exponent_bits, row.significand_bits + 1)
    return ask.is_true(Kind.EQUAL, ask.number(code.to(row.bits), sort), ask.to_fp(mode, number, sort))


def real_of(ask, integer, signed):
    """An integer of 64 bits as a number of a sort that holds it, and the sort."""
    sort = (13, 64)
    kind = Kind.FP_TO_FP_FROM_SBV if signed else Kind.FP_TO_FP_FROM_UBV
    return ask.term(kind, ask.mode("nearest_even"), integer.term, indices=sort), sort


# --- To an integer ------------------------------------------------------------------------------------------


class ToRange:
    """A number of FP32 or FP64, not NaN, to an integer format, by docs/semantics.md: `code` and `flags`."""

    def __init__(self, ask, number, sort, row, mode, overflow="saturate", chance=None):
        size = ask.term(Kind.FP_ABS, number)
        negative = ask.is_true(Kind.FP_IS_NEG, number)
        toward_zero = ask.term(Kind.FP_RTI, ask.mode("toward_zero"), number)
        exact = ask.is_true(Kind.EQUAL, toward_zero, number)
        # The integer in as many bits as a number below 2^limit needs; all others are out of range.
        limit = row.bits + 1 if overflow != "wrap" else 1 << (sort[0] - 1)
        width = limit + 2
        self.random = None
        if chance:
            self.random = ask.any("random", chance["bits"])
            width += chance["bits"]
            wide = (13, sort[1])
            scaled = ask.to_fp("nearest_even", size, wide)
            scaled = ask.term(Kind.FP_MUL, ask.mode("nearest_even"), scaled, ask.power(chance["bits"], wide))
            count = ask.word(Kind.FP_TO_UBV, ask.mode(CHANCE_MODES[chance["variant"]]), scaled, indices=[width])
            magnitude = (count + self.random.to(width)) >> chance["bits"]
            integer = negative.select(0 - magnitude, magnitude)
        elif mode == "to_odd":
            magnitude = ask.word(Kind.FP_TO_UBV, ask.mode("toward_zero"), size, indices=[width])
            magnitude = magnitude | (~exact).to(width)
            integer = negative.select(0 - magnitude, magnitude)
        else:
            integer = ask.word(Kind.FP_TO_SBV, ask.mode(mode), number, indices=[width])
        infinity = ask.is_true(Kind.FP_IS_INF, number)
        far = infinity if overflow == "wrap" else ask.is_true(Kind.FP_GEQ, size, ask.power(limit, sort))
        over = far | ask.constant(row.high, width).less(integer) | integer.less(row.low)
        match overflow:
            case "saturate":
                given = negative.select(ask.constant(row.low, width), ask.constant(row.high, width))
            case "indefinite":
                given = ask.constant(row.low if row.signed else row.high, width)
            case "wrap":
                given = infinity.select(0, integer)
        self.code = over.select(given, integer).to(row.bits)
        self.flags = over.select(ask.constant(INVALID, 8), (~exact).to(8) * INEXACT)
