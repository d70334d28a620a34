"""Sums over sorted magnitudes: what the squared error of a quantizer is made of, at one step and between two.

A number of magnitude m is mapped to level u_k of its side when t_k · step < m ≤ t_(k+1) · step, where u_0 < u_1 < ...
are the levels of that side from the one nearest zero outwards and t_k = (u_(k-1) + u_k) / 2 the thresholds between
them. With weights w, everything the error needs is a sum over the numbers above a threshold:

    A = Σ w·m·u = u_0 · Σ w·m + Σ_k (u_k − u_(k−1)) · Σ_(m > t_k·step) w·m
    B = Σ w·u²  = u_0² · Σ w  + Σ_k (u_k² − u_(k−1)²) · Σ_(m > t_k·step) w

# Design:
# (A) Magnitudes are sorted bits of FP32 or FP64 numbers. Those above a threshold are then the end of the array: a
#     binary search and a sum that was made once for every 32nd place give A and B at any step in O(levels · log n).
# (B) Here numbers are doubles, scaled by a power of two so that the largest lies in [1, 2); they only propose. Every
#     sum is of positive terms with a compensation beside it, so that A and B are known to some parts in 2^51, under any
#     rounding mode of the FPU. A scaled number below 2^-1022 counts as zero, so that flush-to-zero changes nothing.
#     Callers leave 2^-46 (calibrate/search.py) and let integers decide: `totals`.
# (C) One function says how many numbers lie at or below a threshold. What passes a threshold between two steps is then
#     the difference of two such counts, and each breakpoint belongs to exactly one of two neighbouring cells, whatever
#     the product of threshold and step was rounded to.
# (D) `totals` gives exact sums of significands (and their squares) over runs of numbers that share an exponent, in
#     words of 128 bits: weights and significands are split, so that no sum of 2^40 products can overflow.
"""

cimport numpy as cnp

import numpy as np

from bitquant.kernels.fields cimport significand32, significand64
from bitquant.kernels.machine cimport carrier, double_of_bits, int64_t, uint32_t, uint64_t

cnp.import_array()

cdef extern from *:
    ctypedef unsigned long long wide "unsigned __int128"

cdef enum:
    BLOCK = 32
    TOTALS = 9      # sums that `totals` keeps
    SPLIT = 27      # low bits of a significand, whose square is taken in two parts


cdef struct Line:
    const void *keys
    const uint64_t *weights     # NULL: all one
    const double *sums          # Σ w·m from every 32nd number on
    const double *masses        # Σ w
    Py_ssize_t n
    int shift                   # numbers are scaled by 2^-shift
    bint wide_keys


cdef struct Sum:
    double high, low


cdef inline void add(Sum *sum, double x) noexcept nogil:
    """Adds with the rounding error kept beside (Knuth's TwoSum)."""
    cdef double total = sum.high + x, part = total - sum.high
    sum.low += (sum.high - (total - part)) + (x - part)
    sum.high = total


cdef inline uint64_t significand(const carrier key) noexcept nogil:
    return significand32(key) if carrier is uint32_t else significand64(key)


cdef inline int exponent(const carrier key) noexcept nogil:
    """Of the significand's last bit."""
    if carrier is uint32_t:
        return <int> ((key if key > 0x800000 else 0x800000) >> 23) - 150
    else:
        return <int> ((key if key > 0x10000000000000ULL else 0x10000000000000ULL) >> 52) - 1075


cdef inline double scaled(const carrier key, int shift) noexcept nogil:
    """Design B."""
    cdef int place = exponent(key) - shift
    if place < -1022:
        return 0
    return <double> <int64_t> significand(key) * double_of_bits(<uint64_t> (place + 1023) << 52)


cdef inline double weight(const Line *line, Py_ssize_t i) noexcept nogil:
    return 1.0 if line.weights == NULL else <double> <int64_t> line.weights[i]


cdef inline Py_ssize_t count_up_to(
    const carrier *keys, const Line *line, double bound, Py_ssize_t start
) noexcept nogil:
    """How many numbers are at most `bound`, of which at least `start` are. (Design C: this alone decides.)"""
    cdef Py_ssize_t stop = line.n, middle
    while start < stop:
        middle = (start + stop) >> 1
        if scaled(keys[middle], line.shift) <= bound:
            start = middle + 1
        else:
            stop = middle
    return start


cdef inline void tail(
    const carrier *keys, const Line *line, Py_ssize_t start, double *moment, double *mass
) noexcept nogil:
    """Σ w·m and Σ w from `start` on."""
    cdef Py_ssize_t block = (start + BLOCK - 1) // BLOCK, stop = block * BLOCK, i
    cdef Sum moments, masses
    stop = stop if stop < line.n else line.n
    moments.high, moments.low, masses.high, masses.low = line.sums[block], 0, line.masses[block], 0
    for i in range(start, stop):
        add(&moments, weight(line, i) * scaled(keys[i], line.shift))
        add(&masses, weight(line, i))
    moment[0], mass[0] = moments.high + moments.low, masses.high + masses.low


cdef void fill_tails(const carrier *keys, const Line *line, double *sums, double *masses) noexcept nogil:
    cdef Sum moment, mass
    cdef Py_ssize_t i = line.n
    moment.high = moment.low = mass.high = mass.low = 0
    sums[(line.n + BLOCK - 1) // BLOCK] = masses[(line.n + BLOCK - 1) // BLOCK] = 0
    while i > 0:
        i -= 1
        add(&moment, weight(line, i) * scaled(keys[i], line.shift))
        add(&mass, weight(line, i))
        if i % BLOCK == 0:
            sums[i // BLOCK], masses[i // BLOCK] = moment.high + moment.low, mass.high + mass.low


cdef Py_ssize_t evaluate(
    const carrier *keys, const Line *line, double step, const double *thresholds, const double *rises,
    const double *squares, Py_ssize_t levels, double *a, double *b
) noexcept nogil:
    """A and B without the parts of u_0, and how many breakpoints m / t_k lie at or below the step."""
    cdef Sum product, square
    cdef Py_ssize_t k, below = 0, passed = 0
    cdef double moment, mass
    product.high = product.low = square.high = square.low = 0
    for k in range(levels):
        below = count_up_to(keys, line, thresholds[k] * step, below)
        passed += below
        if below == line.n:
            passed += (levels - 1 - k) * line.n
            break
        tail(keys, line, below, &moment, &mass)
        add(&product, rises[k] * moment)
        add(&square, squares[k] * mass)
    a[0], b[0] = product.high + product.low, square.high + square.low
    return passed


cdef void count_each(
    const carrier *keys, const Line *line, double step, const double *thresholds, Py_ssize_t levels, int64_t *counts
) noexcept nogil:
    """For each threshold, ascending, how many numbers are at most threshold · step."""
    cdef Py_ssize_t k, below = 0
    for k in range(levels):
        below = count_up_to(keys, line, thresholds[k] * step, below)
        counts[k] = below


cdef void fill_between(
    const carrier *keys, const Line *line, const int64_t *first, const int64_t *last, const double *thresholds,
    const double *rises, const double *squares, Py_ssize_t levels, double *steps, double *a, double *b
) noexcept nogil:
    """The breakpoints of the numbers first to last of each threshold, and by how much A and B grow below each."""
    cdef Py_ssize_t k, i, n = 0
    for k in range(levels):
        for i in range(first[k], last[k]):
            steps[n] = scaled(keys[i], line.shift) / thresholds[k]
            a[n] = rises[k] * (weight(line, i) * scaled(keys[i], line.shift))
            b[n] = squares[k] * weight(line, i)
            n += 1


cdef void add_totals(
    const carrier *keys, const uint64_t *weights, Py_ssize_t start, Py_ssize_t stop, bint squares, wide *totals
) noexcept nogil:
    """Design D: Σ w, Σ w·s in two parts, and Σ w·s² in six."""
    cdef uint64_t s, w, high, low, top, bottom
    cdef Py_ssize_t i
    for i in range(start, stop):
        s = significand(keys[i])
        w = 1 if weights == NULL else weights[i]
        top, bottom = w >> 32, w & 0xFFFFFFFFULL
        totals[0] += w
        totals[1] += <wide> bottom * s
        totals[2] += <wide> top * s
        if squares:
            high, low = s >> SPLIT, s & ((1 << SPLIT) - 1)
            totals[3] += <wide> (low * low) * bottom
            totals[4] += <wide> (high * low) * bottom
            totals[5] += <wide> (high * high) * bottom
            totals[6] += <wide> (low * low) * top
            totals[7] += <wide> (high * low) * top
            totals[8] += <wide> (high * high) * top


cdef class Magnitudes:
    """Sorted magnitudes of finite numbers that are not zero, as the bits of FP32 or FP64 numbers, with weights or none.

    Everything given and returned in units of the numbers is scaled by 2^-shift, `shift` being an exponent that brings
    the largest below 2.
    """

    cdef Line line
    cdef readonly object keys, weights
    cdef object sums, masses
    cdef readonly double moment, mass
    cdef readonly Py_ssize_t size

    def __init__(self, cnp.ndarray keys not None, cnp.ndarray weights, int shift):
        cdef Py_ssize_t n = len(keys)
        if keys.dtype not in (np.uint32, np.uint64) or keys.ndim != 1 or not keys.flags.c_contiguous:
            raise ValueError("keys must be contiguous words of 4 or 8 bytes")
        if weights is not None and (
            weights.dtype != np.uint64 or weights.ndim != 1 or len(weights) != n or not weights.flags.c_contiguous
        ):
            raise ValueError("there must be a weight of 8 bytes for each key")
        self.keys, self.weights, self.size = keys, weights, n
        self.sums, self.masses = np.empty(n // BLOCK + 2), np.empty(n // BLOCK + 2)
        self.line.keys = cnp.PyArray_DATA(keys)
        self.line.weights = NULL if weights is None else <const uint64_t *> cnp.PyArray_DATA(weights)
        self.line.n, self.line.shift, self.line.wide_keys = n, shift, keys.dtype == np.uint64
        cdef double *sums = <double *> cnp.PyArray_DATA(self.sums)
        cdef double *masses = <double *> cnp.PyArray_DATA(self.masses)
        self.line.sums, self.line.masses = sums, masses
        with nogil:
            if self.line.wide_keys:
                fill_tails(<const uint64_t *> self.line.keys, &self.line, sums, masses)
            else:
                fill_tails(<const uint32_t *> self.line.keys, &self.line, sums, masses)
        self.moment, self.mass = sums[0], masses[0]

    def evaluate(
        self, double step, const double[::1] thresholds, const double[::1] rises, const double[::1] squares
    ):
        """A and B at a step, without the parts of u_0, and how many breakpoints lie at or below it."""
        cdef Py_ssize_t levels = thresholds.shape[0], passed
        cdef double a = 0, b = 0
        if rises.shape[0] != levels or squares.shape[0] != levels:
            raise ValueError("a threshold has a rise and a rise of squares")
        if not levels or not self.size:
            return 0.0, 0.0, 0
        with nogil:
            if self.line.wide_keys:
                passed = evaluate(
                    <const uint64_t *> self.line.keys, &self.line, step, &thresholds[0], &rises[0], &squares[0], levels,
                    &a, &b,
                )
            else:
                passed = evaluate(
                    <const uint32_t *> self.line.keys, &self.line, step, &thresholds[0], &rises[0], &squares[0], levels,
                    &a, &b,
                )
        return a, b, passed

    def between(
        self, double start, double stop, const double[::1] thresholds, const double[::1] rises,
        const double[::1] squares,
    ):
        """The breakpoints between two steps, and by how much A and B grow where the step falls below each."""
        cdef Py_ssize_t levels = thresholds.shape[0], count
        cdef object first = self.counts(start, thresholds), last = self.counts(stop, thresholds)
        if rises.shape[0] != levels or squares.shape[0] != levels:
            raise ValueError("a threshold has a rise and a rise of squares")
        if start > stop:
            raise ValueError("start must not exceed stop")
        count = int(last.sum() - first.sum())
        cdef object found = np.empty((3, count))
        cdef double[:, ::1] rows = found
        cdef const int64_t *since = <const int64_t *> cnp.PyArray_DATA(first)
        cdef const int64_t *until = <const int64_t *> cnp.PyArray_DATA(last)
        if count:
            with nogil:
                if self.line.wide_keys:
                    fill_between(
                        <const uint64_t *> self.line.keys, &self.line, since, until, &thresholds[0], &rises[0],
                        &squares[0], levels, &rows[0, 0], &rows[1, 0], &rows[2, 0],
                    )
                else:
                    fill_between(
                        <const uint32_t *> self.line.keys, &self.line, since, until, &thresholds[0], &rises[0],
                        &squares[0], levels, &rows[0, 0], &rows[1, 0], &rows[2, 0],
                    )
        return found

    def counts(self, double step, const double[::1] thresholds):
        """For each threshold, ascending, how many numbers are at most threshold · step."""
        cdef Py_ssize_t levels = thresholds.shape[0]
        cdef cnp.ndarray found = np.empty(levels, np.int64)
        cdef int64_t *counts = <int64_t *> cnp.PyArray_DATA(found)
        if levels:
            with nogil:
                if self.line.wide_keys:
                    count_each(
                        <const uint64_t *> self.line.keys, &self.line, step, &thresholds[0], levels, counts
                    )
                else:
                    count_each(
                        <const uint32_t *> self.line.keys, &self.line, step, &thresholds[0], levels, counts
                    )
        return found

    def totals(self, const int64_t[::1] cuts, bint squares):
        """Exact sums over the numbers between successive cuts, as integers: (Σ w, Σ w·s, Σ w·s²) for each.

        s is a number's significand as an integer. Cuts ascend from 0 to the number of numbers.
        """
        cdef Py_ssize_t runs = cuts.shape[0] - 1, run
        cdef wide totals[TOTALS]
        cdef int k
        if runs < 0 or cuts[0] != 0 or cuts[runs] != self.size:
            raise ValueError("cuts must ascend from 0 to the number of numbers")
        result = []
        for run in range(runs):
            if cuts[run] > cuts[run + 1]:
                raise ValueError("cuts must ascend")
            with nogil:
                for k in range(TOTALS):
                    totals[k] = 0
                if self.line.wide_keys:
                    add_totals(
                        <const uint64_t *> self.line.keys, self.line.weights, cuts[run], cuts[run + 1], squares, totals
                    )
                else:
                    add_totals(
                        <const uint32_t *> self.line.keys, self.line.weights, cuts[run], cuts[run + 1], squares, totals
                    )
            words = [(int(<uint64_t> (totals[k] >> 64)) << 64) + int(<uint64_t> totals[k]) for k in range(TOTALS)]
            result.append((
                words[0],
                words[1] + (words[2] << 32),
                words[3] + (words[4] << (SPLIT + 1)) + (words[5] << 2 * SPLIT)
                + (words[6] + (words[7] << (SPLIT + 1)) + (words[8] << 2 * SPLIT) << 32),
            ))
        return result


def minima(
    const double[::1] steps, const double[::1] a_rises, const double[::1] b_rises, double a, double b, double start,
    double stop, double negative,
):
    """The intervals of a cell in which the squared error may have its own minimum.

    The breakpoints descend from `stop` to `start`; a and b are A and B at `stop`. `negative` is what A misses from a
    sum of positive terms. Returns rows of: A²/B, a bound of its error, the ends of the interval, and 1 where the
    minimum surely lies inside it.
    """
    cdef Py_ssize_t n = steps.shape[0], i, found = 0
    cdef object result = np.empty((n + 1, 5))
    cdef double[:, ::1] rows = result
    cdef Sum product, square
    cdef double low, high = stop, best, doubt
    if a_rises.shape[0] != n or b_rises.shape[0] != n:
        raise ValueError("a breakpoint has a rise of A and one of B")
    product.high, product.low, square.high, square.low = a, 0, b, 0
    with nogil:
        for i in range(n + 1):
            low = steps[i] if i < n else start
            a, b = product.high + product.low, square.high + square.low
            if a > 0 and b > 0:
                best, doubt = a / b, (a + negative + negative) / b * 2.0**-46
                if best + doubt >= low * (1 - 2.0**-46) and best - doubt <= high * (1 + 2.0**-46):
                    rows[found, 0], rows[found, 1], rows[found, 2], rows[found, 3] = a * best, 2 * a * doubt, low, high
                    rows[found, 4] = best - doubt > low * (1 + 2.0**-46) and best + doubt < high * (1 - 2.0**-46)
                    found += 1
            if i < n:
                add(&product, a_rises[i])
                add(&square, b_rises[i])
                high = low
    return result[:found]
