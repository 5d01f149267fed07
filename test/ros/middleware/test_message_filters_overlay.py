"""message_filters, released or from the overlay: what the node relies on."""

from __future__ import annotations

import importlib
import itertools
import random
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import message_filters
import pytest
import rclpy
from builtin_interfaces.msg import Time as TimeMsg
from message_filters import ApproximateTimeSynchronizer, Cache, SimpleFilter, Subscriber, TimeSynchronizer
from rclpy.clock import ROSClock
from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import Image


def stamped(seconds: float, data: Any = None) -> SimpleNamespace:
    """Something with a header that carries a time as messages do."""
    nanoseconds = round(seconds * 1e9)
    stamp = TimeMsg(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
    return SimpleNamespace(header=SimpleNamespace(stamp=stamp), data=data)


def synchronized(kind: type, inputs: int, *arguments: Any, **options: Any) -> tuple[list[SimpleFilter], list[Any]]:
    """The inputs of a synchronizer, and the list in which its sets arrive."""
    filters = [SimpleFilter() for _ in range(inputs)]
    sets: list[Any] = []
    made = kind(filters, *arguments, **options)
    made.registerCallback(lambda *messages: sets.append(messages))
    return filters, sets


@pytest.fixture
def node() -> Iterator[Node]:
    context = Context()
    rclpy.init(context=context)
    made = rclpy.create_node("filters", context=context)
    yield made
    made.destroy_node()
    rclpy.shutdown(context=context)


def test_callbacks_get_their_own_arguments() -> None:
    calls: list[Any] = []
    source = SimpleFilter()
    first = source.registerCallback(lambda *given: calls.append(given), "a", 1)
    second = source.registerCallback(lambda *given: calls.append(given))
    assert first != second
    source.signalMessage("message")
    assert calls == [("message", "a", 1), ("message",)]


@pytest.mark.parametrize("size", range(1, 8))
@pytest.mark.parametrize(("kind", "arguments"), [(TimeSynchronizer, ()), (ApproximateTimeSynchronizer, (0.1,))])
def test_scrambled_messages_find_each_other(kind: type, arguments: tuple[float, ...], size: int) -> None:
    generator = random.Random(size)
    (left, right), sets = synchronized(kind, 2, size, *arguments)
    pairs = [(stamped(i), stamped(i)) for i in range(size)]
    for a, _ in generator.sample(pairs, size):
        left.signalMessage(a)
    assert sets == []
    for _, b in generator.sample(pairs, size):
        right.signalMessage(b)
    assert sorted(sets, key=lambda pair: pair[0].header.stamp.sec) == pairs


def test_exact_times_only() -> None:
    (left, right), sets = synchronized(TimeSynchronizer, 2, 10)
    left.signalMessage(stamped(1.0))
    right.signalMessage(stamped(1.0 + 1e-9))
    assert sets == []


def test_full_queue_forgets_the_oldest() -> None:
    for kind, arguments in ((TimeSynchronizer, ()), (ApproximateTimeSynchronizer, (0.01,))):
        (left, right), sets = synchronized(kind, 2, 2, *arguments)
        for i in range(3):
            left.signalMessage(stamped(i))
        right.signalMessage(stamped(0))
        assert sets == []
        right.signalMessage(stamped(2))
        assert len(sets) == 1


def test_slop_is_a_limit_on_the_whole_set() -> None:
    (a, b, c), sets = synchronized(ApproximateTimeSynchronizer, 3, 5, 0.05)
    a.signalMessage(stamped(1.00))
    b.signalMessage(stamped(1.04))
    c.signalMessage(stamped(1.08))  # near b, too far from a
    assert sets == []
    a.signalMessage(stamped(1.07))
    assert [message.header.stamp.nanosec for message in sets[0]] == [70_000_000, 40_000_000, 80_000_000]


def test_closest_message_is_taken() -> None:
    (left, right), sets = synchronized(ApproximateTimeSynchronizer, 2, 10, 0.5)
    for seconds in (1.0, 1.3, 1.6):
        left.signalMessage(stamped(seconds, seconds))
    right.signalMessage(stamped(1.32))
    assert sets[0][0].data == 1.3


def test_message_is_used_once() -> None:
    (left, right), sets = synchronized(ApproximateTimeSynchronizer, 2, 10, 0.5)
    left.signalMessage(stamped(1.0))
    right.signalMessage(stamped(1.1))
    right.signalMessage(stamped(1.2))
    assert len(sets) == 1


def test_messages_without_header() -> None:
    (left, right), sets = synchronized(ApproximateTimeSynchronizer, 2, 5, 10.0)
    left.signalMessage("no header")
    right.signalMessage("no header")
    assert sets == []
    (left, right), sets = synchronized(ApproximateTimeSynchronizer, 2, 5, 10.0, allow_headerless=True)
    left.signalMessage("left")
    right.signalMessage("right")
    assert sets == [("left", "right")]


def test_stamp_may_be_an_rclpy_time() -> None:
    (left, right), sets = synchronized(ApproximateTimeSynchronizer, 2, 5, 1.0)
    now = ROSClock().now()
    for source, offset in ((left, 0.0), (right, 0.2)):
        source.signalMessage(SimpleNamespace(header=SimpleNamespace(stamp=now + Duration(seconds=offset))))
    assert len(sets) == 1


def test_cache() -> None:
    source = SimpleFilter()
    cache = Cache(source, 3)
    passed: list[Any] = []
    cache.registerCallback(passed.append)
    messages = [stamped(i) for i in range(5)]
    for message in messages:
        source.signalMessage(message)
    assert passed == messages
    at = [Time.from_msg(message.header.stamp) for message in messages]
    assert cache.getInterval(at[0], at[4]) == messages[2:]
    assert cache.getInterval(at[2], at[3]) == messages[2:4]
    assert cache.getElemAfterTime(at[0]) is messages[2]
    assert cache.getElemBeforeTime(at[3] + Duration(seconds=0.5)) is messages[3]
    assert cache.getElemBeforeTime(at[1]) is None
    assert cache.getOldestTime() == at[2]
    assert cache.getLast() is messages[4]


def test_subscribers_over_dds(node: Node) -> None:
    """Two topics, one reliable and one best effort, both through a namespace and with a remapped QoS."""
    best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    inputs = [Subscriber(node, Image, "left"), Subscriber(node, Image, "right", qos_profile=best_effort)]
    assert inputs[0].getTopic() == "left"
    assert inputs[0].topic_name == "/left"  # passed on to the subscription
    sets: list[Any] = []
    synchronizer = ApproximateTimeSynchronizer(inputs, 5, 0.05)
    synchronizer.registerCallback(lambda *messages: sets.append(messages))
    publishers = [node.create_publisher(Image, topic, 5) for topic in ("left", "right")]
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    deadline = time.monotonic() + 20.0
    for number in itertools.count(1):
        for publisher in publishers:
            image = Image(width=number)
            image.header.stamp.sec = number
            publisher.publish(image)
        for _ in range(4):
            executor.spin_once(timeout_sec=0.05)
        if sets or time.monotonic() > deadline:
            break
    executor.shutdown()
    left, right = sets[0]
    assert left.width == right.width > 0


overlay_only = pytest.mark.skipif(
    not hasattr(message_filters, "get_time_from_message_header"), reason="the newest interface, not in every release"
)


@overlay_only
def test_own_time_getter() -> None:
    def seconds(message: int) -> Time:
        return Time(seconds=message)

    for kind, arguments in ((TimeSynchronizer, ()), (ApproximateTimeSynchronizer, (0.1,))):
        (left, right), sets = synchronized(kind, 2, 5, *arguments, time_getter=seconds)
        left.signalMessage(7)
        right.signalMessage(7)
        assert sets == [(7, 7)]
    (left, _), _ = synchronized(TimeSynchronizer, 2, 5)
    with pytest.raises(ValueError, match="stamp"):
        left.signalMessage("no header")


@overlay_only
def test_older_messages_of_the_last_input_are_given_up() -> None:
    (left, right), sets = synchronized(TimeSynchronizer, 2, 10)
    left.signalMessage(stamped(0))
    right.signalMessage(stamped(1))
    left.signalMessage(stamped(1))
    assert len(sets) == 1
    right.signalMessage(stamped(0))
    assert len(sets) == 1


@overlay_only
def test_arrival_time_and_offsets() -> None:
    (left, right), sets = synchronized(ApproximateTimeSynchronizer, 2, 5, 5.0, sync_arrival_time=True)
    left.signalMessage(stamped(1))
    right.signalMessage(stamped(1000))
    assert len(sets) == 1
    second = 10**9
    for options in ({"queue_offset": [0, second]},):
        (left, right), sets = synchronized(ApproximateTimeSynchronizer, 2, 5, 0.1, **options)
        left.signalMessage(stamped(1))
        right.signalMessage(stamped(2))
        assert len(sets) == 1
    (left, right), sets = synchronized(ApproximateTimeSynchronizer, 2, 5, 0.1, [0, second])
    left.signalMessage(stamped(1))
    right.signalMessage(stamped(2))
    assert len(sets) == 1


@overlay_only
def test_chain_passes_through_all() -> None:
    source, out = SimpleFilter(), []
    chain = message_filters.Chain(source)
    caches = [Cache(SimpleFilter(), 5), Cache(SimpleFilter(), 5)]
    chain.registerCallback(out.append)
    source.signalMessage(stamped(0))
    for cache in caches:
        chain.addFilter(cache)
    source.signalMessage(stamped(1))
    assert [len(cache.cache_msgs) for cache in caches] == [1, 1]
    assert len(out) == 2
    assert chain.getFilter(1) is caches[1]
    with pytest.raises(KeyError):
        chain.getFilter(2)
    with pytest.raises(RuntimeError):
        chain.connectInput(source)


@overlay_only
def test_delta_filter_passes_changes() -> None:
    delta = importlib.import_module("message_filters.delta_filter")
    out: list[Any] = []
    made = delta.PathDeltaFilter(["header.stamp.sec", "data"])
    made.registerCallback(out.append)
    for seconds, data in ((1, "a"), (1, "a"), (2, "a"), (2, "b")):
        made.add(stamped(seconds, data))
    assert [(message.header.stamp.sec, message.data) for message in out] == [(1, "a"), (2, "a"), (2, "b")]
    with pytest.raises(RuntimeError, match="no_such"):
        delta.PathDeltaFilter(["no_such"]).get_field_by_path(stamped(1), "no_such")


@overlay_only
def test_input_aligner_orders_inputs() -> None:
    aligner_module = importlib.import_module("message_filters.input_aligner")
    sources, out = [SimpleFilter(), SimpleFilter()], []
    aligner = aligner_module.InputAligner(Duration(seconds=0.01), *sources)
    for index in range(2):
        aligner.registerCallback(index, lambda message: out.append(message.data))
        aligner.setInputPeriod(index, Duration(seconds=0.002))
    for milliseconds in range(1, 17, 2):
        sources[0].signalMessage(stamped(milliseconds / 1000, milliseconds))
    for milliseconds in (2, 4):
        sources[1].signalMessage(stamped(milliseconds / 1000, milliseconds))
    aligner.dispatchMessages()
    assert out == [1, 2, 3, 4, 5]  # 6 of the second input may still come
    sources[0].signalMessage(stamped(0.017, 17))
    aligner.dispatchMessages()
    assert out == [1, 2, 3, 4, 5, 7, 9, 11, 13, 15, 17]
    sources[1].signalMessage(stamped(0.001, 1))
    assert aligner.getQueueStatus(1).msgs_dropped == 1
    assert not aligner.getQueueStatus(1).active


@overlay_only
def test_sequencer_holds_messages_back(node: Node) -> None:
    source, out = SimpleFilter(), []
    sequencer = message_filters.TimeSequencer(source, 0.2, 0.02, 10, node)
    sequencer.registerCallback(lambda message: out.append(message.data))
    now = node.get_clock().now().nanoseconds / 1e9
    for offset in (0.02, 0.0, 0.01):
        source.signalMessage(stamped(now + offset, offset))
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    deadline = time.monotonic() + 10.0
    while len(out) < 3 and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.1)
    executor.shutdown()
    sequencer.shutdown()
    assert out == [0.0, 0.01, 0.02]
