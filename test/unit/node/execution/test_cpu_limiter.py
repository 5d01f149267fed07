"""How `max_cpu` paces searches and following, on a clock and a processor of their own."""

import pytest

from ism_ros.node.execution.cpu_limiter import MAX_SEARCH_PAUSE_S, CpuLimiter


class Machine:
    """Two cores and a process on them."""

    def __init__(self):
        self.now_s = self.used_s = 0.0
        self.max_cpu = 0.5
        self.limiter = CpuLimiter(lambda: self.max_cpu, 2, lambda: self.now_s, lambda: self.used_s)

    def work(self, cores, seconds):
        self.now_s += seconds
        self.used_s += cores * seconds

    def search(self, cores=2.0, seconds=0.2):
        """Seconds from the start of one search to the next."""
        self.work(cores, seconds)
        wait_s = self.limiter.search_wait_s(seconds)
        self.work(0.0, wait_s)
        return seconds + wait_s


@pytest.fixture
def machine():
    return Machine()


@pytest.mark.parametrize("max_cpu", [0.05, 0.2, 0.5, 0.9])
def test_searches_stay_below_the_limit_on_average(machine, max_cpu):
    machine.max_cpu = max_cpu
    machine.limiter.restart()
    for _ in range(50):
        machine.search(cores=2.0, seconds=0.1)
    assert machine.used_s / (2 * machine.now_s) == pytest.approx(max_cpu, rel=0.1)


def test_without_a_limit_nothing_waits(machine):
    machine.max_cpu = 0.0
    assert machine.search() == 0.2
    assert machine.limiter.follow_wait_s(0.1, 0.1) == 0.0


def test_what_was_used_before_a_limit_was_set_is_not_owed(machine):
    machine.max_cpu = 0.0
    machine.search(seconds=5.0)
    machine.max_cpu = 0.5
    assert machine.limiter.search_wait_s(0.0) == 0.0


def test_a_pause_is_not_saved_for_long(machine):
    machine.work(cores=0.0, seconds=60.0)
    machine.search(cores=2.0, seconds=1.0)
    assert machine.search(cores=2.0, seconds=1.0) > 1.5


def test_the_following_slows_down_smoothly_until_the_limit_is_kept(machine):
    frame_s, periods_s, used_s = 0.03, [], []
    for _ in range(400):
        machine.work(cores=1.6, seconds=frame_s)  # of which a fixed part is not the following's
        wait_s = machine.limiter.follow_wait_s(frame_s, frame_s)
        machine.work(cores=0.3, seconds=wait_s)
        periods_s.append(frame_s + wait_s)
        used_s.append(machine.used_s)
    assert (used_s[-1] - used_s[200]) / sum(periods_s[201:]) == pytest.approx(1.0, rel=0.05)
    assert max(periods_s[200:]) < 1.2 * min(periods_s[200:])


def test_the_search_waits_while_the_following_takes_all_but_not_for_ever(machine):
    machine.work(cores=1.5, seconds=2.0)
    assert machine.limiter.search_wait_s(0.5) > 0.5
    assert machine.limiter.follow_wait_s(0.03, 0.03) < 0.1
    assert machine.limiter.search_wait_s(MAX_SEARCH_PAUSE_S) == 0.0


def test_the_share_is_of_all_cores_over_the_last_seconds(machine):
    for _ in range(100):
        machine.work(cores=2.0, seconds=0.5)
        machine.limiter.share()
    for _ in range(100):
        machine.work(cores=0.5, seconds=0.5)
        share = machine.limiter.share()
    assert share == pytest.approx(0.25, rel=0.02)
