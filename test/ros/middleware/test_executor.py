"""Which thread runs which callback."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import rclpy
from rclpy.callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.context import Context
from rclpy.node import Node
from rclpy.timer import Timer

from ism_ros.node.execution.group_calls import GroupCalls
from ism_ros.node.execution.stream_executor import StreamExecutor

TIMEOUT_S = 20.0


class Spun:
    """A node whose callbacks a StreamExecutor runs on the thread `spinning`."""

    def __init__(self) -> None:
        self.context = Context()
        rclpy.init(args=[], context=self.context)
        self.node = Node("spun", context=self.context, start_parameter_services=False, enable_rosout=False)
        self.calls = GroupCalls(self.node)
        self.quick = self.calls.group
        self.errors: list[BaseException] = []
        self.has_error = threading.Event()
        self.executor = StreamExecutor(self.quick, 2, self._on_error, self.context)
        self.executor.add_node(self.node)
        self._ending = threading.Event()
        self.spinning = threading.Thread(target=self._spin)
        self.spinning.start()

    def call(self, group: CallbackGroup, callback: object) -> Timer:
        """Runs `callback` in `group` again and again."""
        return self.node.create_timer(0.01, callback, group)

    def end(self) -> None:
        self._ending.set()
        self.spinning.join(TIMEOUT_S)
        self.executor.shutdown(0)
        self.node.destroy_node()
        self.context.try_shutdown()

    def _spin(self) -> None:
        while not self._ending.is_set():
            self.executor.spin_once(timeout_sec=0.1)

    def _on_error(self, error: BaseException) -> None:
        self.errors.append(error)
        self.has_error.set()


@pytest.fixture
def spun() -> Iterator[Spun]:
    spun = Spun()
    yield spun
    spun.end()


def test_a_quick_callback_runs_on_the_thread_that_spins(spun: Spun) -> None:
    ran, on = threading.Event(), []

    def callback() -> None:
        on.append(threading.current_thread())
        ran.set()

    spun.call(spun.quick, callback)
    assert ran.wait(TIMEOUT_S)
    assert on[0] is spun.spinning


def test_quick_callbacks_go_on_while_others_wait(spun: Spun) -> None:
    waiting, released, ran = threading.Semaphore(0), threading.Event(), threading.Semaphore(0)

    def wait() -> None:
        waiting.release()
        released.wait(TIMEOUT_S)

    spun.call(ReentrantCallbackGroup(), wait)
    for _ in range(2):
        assert waiting.acquire(timeout=TIMEOUT_S)
    spun.call(spun.quick, ran.release)
    for _ in range(5):
        assert ran.acquire(timeout=TIMEOUT_S)
    released.set()


@pytest.mark.parametrize("is_quick", [True, False])
def test_what_a_callback_raises_is_told_and_ends_nothing(spun: Spun, is_quick: bool) -> None:
    group = spun.quick if is_quick else MutuallyExclusiveCallbackGroup()
    ran = threading.Semaphore(0)

    def callback() -> None:
        ran.release()
        raise ValueError("odd")

    spun.call(group, callback)
    for _ in range(3):
        assert ran.acquire(timeout=TIMEOUT_S)
    assert spun.has_error.wait(TIMEOUT_S)
    assert "odd" in str(spun.errors[0])


def test_a_callback_that_waits_for_a_thread_runs_once_and_is_told_once(spun: Spun) -> None:
    waiting, released, ran = threading.Semaphore(0), threading.Event(), []

    def wait() -> None:
        waiting.release()
        released.wait(TIMEOUT_S)

    def fail() -> None:
        ran.append(1)
        timer.cancel()
        raise ValueError("odd")

    for _ in range(2):
        spun.call(MutuallyExclusiveCallbackGroup(), wait)
    for _ in range(2):
        assert waiting.acquire(timeout=TIMEOUT_S)
    timer = spun.call(MutuallyExclusiveCallbackGroup(), fail)
    ticks = threading.Semaphore(0)
    spun.call(spun.quick, ticks.release)
    for _ in range(20):
        assert ticks.acquire(timeout=TIMEOUT_S)
    assert not ran  # both threads are taken
    released.set()
    assert spun.has_error.wait(TIMEOUT_S)
    for _ in range(20):
        assert ticks.acquire(timeout=TIMEOUT_S)
    assert len(spun.errors) == len(ran) == 1


def test_a_call_from_another_thread_runs_in_the_group_and_has_run_when_it_returns(spun: Spun) -> None:
    on: list[threading.Thread] = []
    for _ in range(3):
        spun.calls.call(lambda: on.append(threading.current_thread()))
    assert on == [spun.spinning] * 3


def test_a_call_after_the_end_runs_at_once(spun: Spun) -> None:
    spun.calls.close()
    on: list[threading.Thread] = []
    spun.calls.call(lambda: on.append(threading.current_thread()))
    assert on == [threading.current_thread()]
