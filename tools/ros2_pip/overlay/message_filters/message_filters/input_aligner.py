"""Several inputs, handed on one message at a time in the order of all their stamps."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.clock import ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time

from .simple_filter import SimpleFilter

# Later than every stamp.
NEVER = 2**63 - 1


@dataclass
class QueueStatus:
    """How one input is doing."""

    active: bool
    queue_size: int
    msgs_processed: int
    msgs_dropped: int


class EventQueue:
    """The waiting messages of one input. All times are nanoseconds."""

    def __init__(self) -> None:
        self.events: list[tuple[int, int, Any]] = []
        self.numbers = itertools.count()  # keeps messages with the same stamp in the order of arrival
        self.output = SimpleFilter()
        self.period = 0
        self.next_time = NEVER
        self.active = False
        self.processed = 0
        self.dropped = 0

    def first_time(self) -> int:
        """The stamp of the first message, or the one expected next, or NEVER for an input that rests."""
        if self.events:
            self.active = True
            self.next_time = self.events[0][0] + self.period
            return self.events[0][0]
        return self.next_time if self.active else NEVER

    def status(self) -> QueueStatus:
        """The numbers for users."""
        return QueueStatus(self.active, len(self.events), self.processed, self.dropped)


class InputAligner(SimpleFilter):
    """Delays messages until no older one can come from another input, or that input has timed out."""

    def __init__(self, timeout: Duration, *inputs: SimpleFilter, filters: Sequence[SimpleFilter] = ()) -> None:
        """Wait up to `timeout` for an input that is late; inputs one by one or as `filters`."""
        super().__init__()
        self.timeout = timeout
        self.lock = threading.RLock()
        self.event_queues: list[EventQueue] = []
        self.input_connections: list[tuple[SimpleFilter, int]] = []
        self.last_in_time = 0
        self.last_out_time = 0
        self.name = ""
        self.dispatch_timer: Any = None
        if inputs or filters:
            self.connectInput(*inputs, filters=filters)

    @property
    def last_in_ts(self) -> Time:
        """The youngest stamp that came in."""
        return Time(nanoseconds=self.last_in_time, clock_type=ClockType.ROS_TIME)

    @property
    def last_out_ts(self) -> Time:
        """The stamp of the last message that went out."""
        return Time(nanoseconds=self.last_out_time, clock_type=ClockType.ROS_TIME)

    def connectInput(self, *inputs: SimpleFilter, filters: Sequence[SimpleFilter] = ()) -> None:  # noqa: N802
        """Take messages from these filters, and no longer from earlier ones."""
        with self.lock:
            self.disconnectAll()
            every = [*inputs, *filters]
            self.event_queues = [EventQueue() for _ in every]
            self.input_connections = [(f, f.registerCallback(self.add, index)) for index, f in enumerate(every)]

    def disconnectAll(self) -> None:  # noqa: N802
        """Take no more messages."""
        for source, connection in self.input_connections:
            source.unregisterCallback(connection)
        self.input_connections = []

    def registerCallback(self, index: int, callback: Callable[..., Any], *args: Any) -> int:  # type: ignore[override]  # noqa: N802
        """Call back with the messages of the input `index`."""
        return self.event_queues[index].output.registerCallback(callback, *args)

    def setName(self, name: str) -> None:  # noqa: N802
        """Give this filter a name."""
        self.name = name

    def getName(self) -> str:  # noqa: N802
        """The name given."""
        return self.name

    def setInputPeriod(self, index: int, period: Duration) -> None:  # noqa: N802
        """Say how long after a message of this input the next one is expected."""
        self.event_queues[index].period = period.nanoseconds

    def getQueueStatus(self, index: int) -> QueueStatus:  # noqa: N802
        """How the input `index` is doing."""
        return self.event_queues[index].status()

    def setupDispatchTimer(self, node: Node, update_rate: Duration) -> None:  # noqa: N802
        """Hand messages on by a timer of `node`, every `update_rate`."""
        self.dispatch_timer = node.create_timer(update_rate.nanoseconds / 1e9, self.dispatchMessages)

    def add(self, msg: Any, queue_index: int) -> None:
        """Take one message; it is dropped when a younger one has gone out."""
        time = Time.from_msg(msg.header.stamp).nanoseconds
        with self.lock:
            queue = self.event_queues[queue_index]
            if time < self.last_out_time:
                queue.dropped += 1
                return
            self.last_in_time = max(self.last_in_time, time)
            heapq.heappush(queue.events, (time, next(queue.numbers), msg))

    def dispatchMessages(self) -> None:  # noqa: N802
        """Hand on every message that nothing older can precede."""
        with self.lock:
            if any(queue.events for queue in self.event_queues):
                while self._dispatch_first():
                    pass

    def _dispatch_first(self) -> bool:
        """Hand on the oldest message, or give up waiting for an input; False when there is only waiting."""
        queue = min(self.event_queues, key=EventQueue.first_time)
        if queue.events:
            self.last_out_time, _, message = queue.events[0]
            queue.output.signalMessage(message)
            heapq.heappop(queue.events)
            queue.processed += 1
            return True
        if self.last_in_time - queue.first_time() >= self.timeout.nanoseconds:
            queue.active = False
            return True
        return False
