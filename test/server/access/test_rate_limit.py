"""How often a client may send requests."""

from __future__ import annotations

from ism_ros.server.middleware.rate_limit import RateLimit


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_minute_s_worth_may_be_spent_at_once_and_comes_back_evenly() -> None:
    clock = Clock()
    limit = RateLimit(6, clock)
    assert [limit.wait_s("a") for _ in range(7)] == [0, 0, 0, 0, 0, 0, 10]
    clock.now_s += 10
    assert [limit.wait_s("a") for _ in range(2)] == [0, 10]


def test_clients_do_not_share_their_limit() -> None:
    limit = RateLimit(1, Clock())
    assert limit.wait_s("a") == 0
    assert limit.wait_s("a") > 0
    assert limit.wait_s("b") == 0


def test_without_a_limit_nobody_waits() -> None:
    limit = RateLimit(0, Clock())
    assert not any(limit.wait_s("a") for _ in range(1000))
