"""Sets of messages, one from each input, that belong to the same moment."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from rclpy.duration import Duration

from .cache import TimeGetter, arrival_stamp
from .message_traits import get_time_from_message_header
from .simple_filter import SimpleFilter


class TimeSynchronizer(SimpleFilter):
    """Calls back with one message of each input when all carry exactly the same stamp."""

    def __init__(
        self,
        fs: Sequence[SimpleFilter],
        queue_size: int,
        time_getter: TimeGetter = get_time_from_message_header,
    ) -> None:
        """Keep at most `queue_size` messages of each input while they wait for the others."""
        super().__init__()
        self.queue_size = queue_size
        self.time_getter = time_getter
        # Callbacks run under the lock, one at a time; one that signals an input again must not hang.
        self.lock = threading.RLock()
        self.connectInput(fs)

    def connectInput(self, fs: Sequence[SimpleFilter]) -> None:  # noqa: N802
        """Take messages from the filters `fs`."""
        # One dictionary for each input: stamp in nanoseconds -> message.
        self.queues: list[dict[int, Any]] = [{} for _ in fs]
        self.input_connections = [
            f.registerCallback(self.add, queue, index)
            for index, (f, queue) in enumerate(zip(fs, self.queues, strict=True))
        ]

    def add(self, msg: Any, my_queue: dict[int, Any], my_queue_index: int | None = None) -> None:
        """Take one message of one input; ValueError when it has no stamp."""
        stamp = self.time_getter(msg)
        if stamp is None:
            raise ValueError(
                "a message without a stamp cannot be matched exactly: give a time_getter, or use "
                "ApproximateTimeSynchronizer with allow_headerless=True"
            )
        with self.lock:
            time = stamp.nanoseconds
            self._enqueue(my_queue, time, msg)
            if all(time in queue for queue in self.queues):
                self._signal([time] * len(self.queues))
                # The other inputs are already at this time, so what they lack before it will not come.
                for old in [t for t in my_queue if t < time]:
                    del my_queue[old]

    def _enqueue(self, queue: dict[int, Any], time: int, msg: Any) -> None:
        """Add a message to a queue, and drop the oldest ones beyond its size."""
        queue[time] = msg
        while len(queue) > self.queue_size:
            del queue[min(queue)]

    def _signal(self, times: Iterable[int]) -> None:
        """Take the messages of these times, one from each queue, and call back with them."""
        self.signalMessage(*[queue.pop(time) for queue, time in zip(self.queues, times, strict=True)])


class ApproximateTimeSynchronizer(TimeSynchronizer):
    """Calls back with one message of each input when their stamps lie within `slop` seconds."""

    def __init__(
        self,
        fs: Sequence[SimpleFilter],
        queue_size: int,
        slop: float,
        allow_headerless: bool | Sequence[int] = False,
        sync_arrival_time: bool = False,
        *more: Any,
        queue_offset: Sequence[int] | bool = False,
        time_getter: TimeGetter = get_time_from_message_header,
    ) -> None:
        """Set up the inputs.

        fs, queue_size: as in TimeSynchronizer.
        slop: the largest difference of stamps within a set, in seconds.
        allow_headerless: take the time of arrival for messages without a stamp, instead of dropping them.
        sync_arrival_time: take the time of arrival for all messages.
        queue_offset: nanoseconds to subtract from the stamps of each input.
        """
        if not isinstance(allow_headerless, bool):
            # The newest public version has the offsets in the fourth place, and the flags after them.
            queue_offset = allow_headerless
            allow_headerless, sync_arrival_time = sync_arrival_time, bool(more and more[0])
        super().__init__(fs, queue_size, time_getter)
        self.slop = Duration(seconds=slop)
        self.allow_headerless = allow_headerless
        self.sync_arrival_time = sync_arrival_time
        self.queue_offset = queue_offset

    def add(self, msg: Any, my_queue: dict[int, Any], my_queue_index: int | None = None) -> None:
        """Take one message of one input, and call back with the closest complete set that it makes."""
        stamp = None if self.sync_arrival_time else self.time_getter(msg)
        if stamp is None:
            stamp = arrival_stamp("message_filters_approx", self.allow_headerless or self.sync_arrival_time)
            if stamp is None:
                return
        time = stamp.nanoseconds
        if my_queue_index is not None and self.queue_offset:
            time -= self.queue_offset[my_queue_index]  # type: ignore[index]
        with self.lock:
            self._enqueue(my_queue, time, msg)
            if time in my_queue:  # else it was the oldest of a full queue
                self._match(time, my_queue)

    def _match(self, time: int, my_queue: dict[int, Any]) -> None:
        """Look for a set around `time`, the closest messages of every other queue first."""
        slop = self.slop.nanoseconds
        candidates = [
            [time] if queue is my_queue
            else sorted((t for t in queue if abs(t - time) <= slop), key=lambda t: abs(t - time))
            for queue in self.queues
        ]  # fmt: skip
        for times in itertools.product(*candidates):
            # A slop of 0 asks for equal stamps.
            if max(times) - min(times) < max(slop, 1):
                self._signal(times)
                return
