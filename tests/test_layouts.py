"""How an array is shared among threads."""

import itertools
import threading

import pytest

from bitquant import layouts


@pytest.mark.parametrize("size", [0, 1, 4096, 100_000, (1 << 18) + 5, 1 << 20])
@pytest.mark.parametrize("threads", [1, 2, 3, 16, None])
def test_the_runs_cover_every_number_once(size, threads):
    runs = layouts.in_parts(lambda start, stop: (start, stop), size, threads)
    assert runs[0][0] == 0
    assert runs[-1][1] == size
    assert all(before[1] == after[0] and after[0] % 4096 == 0 for before, after in itertools.pairwise(runs))
    assert len(runs) <= (threads or 1 << 10)


def test_as_many_threads_work_at_once_as_were_asked_for():
    together = threading.Barrier(3, timeout=30)
    assert layouts.in_parts(lambda start, stop: together.wait() >= 0, 3 << 16, 3) == [True] * 3


def test_a_small_array_is_not_shared():
    assert layouts.in_parts(lambda start, stop: threading.get_ident(), 1 << 16, 8) == [threading.get_ident()]
