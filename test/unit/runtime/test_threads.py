"""Work that is shared out to threads is all done, once and in order."""

from __future__ import annotations

import pytest

from ism_ros.runtime.threads import map_on_threads, shares_of_threads


@pytest.mark.parametrize(("count", "threads"), [(0, 2), (1, 4), (7, 2), (8, 3)])
def test_shares_of_threads_are_all_items_in_as_many_parts_as_there_are_threads(count: int, threads: int) -> None:
    shares = shares_of_threads(count, threads)
    assert [item for first, last in shares for item in range(first, last)] == list(range(count))
    assert len(shares) == max(min(count, threads), 1)
    sizes = [last - first for first, last in shares]
    assert max(sizes) - min(sizes) <= 1


def test_results_of_threads_come_in_the_order_of_the_items() -> None:
    assert map_on_threads(pow, 2, [1, 2, 3], [2, 2, 2]) == [1, 4, 9]
