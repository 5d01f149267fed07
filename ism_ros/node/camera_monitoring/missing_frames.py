"""Diagnosis of why no frame comes: from what is known of the topics to one sentence that says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from ism_ros.node.event_log import DiagnosticEvent

MAX_ADVISED_SLOP_S = 0.5
"""Largest slop that is advised, seconds: images further apart show different things."""
TIME_UNITS_S = (("years", 365.25 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60))
"""Units of long times and their lengths in seconds, the longest first."""


@dataclass(frozen=True)
class TopicState:
    """What is known of one input.

    Attributes:
        input: Name it is subscribed under: rgb, depth or camera_info.
        topic: Whole name of the topic that it is remapped to.
        expected_type: Message type of the subscription.
        publisher_types: Message type of each publisher.
        incompatible_policy: QoS policy that the subscription demands and a publisher does not offer, else empty.
        age_s: Seconds since the last message, None before the first.
        stamps_s: Stamps of the last messages.
        publisher_nodes: Name of the node of each publisher.
        is_persistent: Whether its last message holds until the next one, as a calibration does.
    """

    input: str
    topic: str
    expected_type: str
    publisher_types: Sequence[str] = ()
    incompatible_policy: str = ""
    age_s: float | None = None
    stamps_s: Sequence[float] = ()
    publisher_nodes: Sequence[str] = ()
    is_persistent: bool = False

    def is_missing(self, timeout_s: float) -> bool:
        """Return whether no message of it can be used: it is silent, and an older message does not hold."""
        return self.is_silent(timeout_s) and not (self.is_persistent and self.age_s is not None)

    def is_silent(self, timeout_s: float) -> bool:
        """Return whether nothing came for longer than `timeout_s`."""
        return self.age_s is None or self.age_s > timeout_s


def incompatible_qos_text(topic: str, policy: str) -> str:
    """Return what to do about a publisher of `topic` that does not offer a QoS policy of the subscription."""
    if policy == "reliability":
        return (
            f"{topic} is published best effort, but the subscription demands reliable: set the parameter reliability "
            f"to auto or best_effort, and give no qos_overrides.{topic}.subscription.reliability"
        )
    return (
        f"{topic} is published without the {policy} that the subscription demands: leave out "
        f"qos_overrides.{topic}.subscription.{policy}, or change it at the publisher"
    )


def two_publishers_event(topic: str, input_name: str, nodes: Sequence[str]) -> DiagnosticEvent:
    """Return what to do about several publishers whose messages are interleaved on `topic`.

    Args:
        topic: Whole name of the topic.
        input_name: Name under which it is subscribed.
        nodes: Names of the publishers' nodes, as far as known.
    """
    return DiagnosticEvent(
        "two_publishers",
        f"{topic} has {_publishers_text(nodes)}, whose messages are mixed, and so are the results: stop all but one, "
        f"or remap {input_name}",
    )


def all_topics_silent(topics: Sequence[TopicState], timeout_s: float) -> bool:
    """Return whether nothing arrived on any topic for longer than `timeout_s`."""
    return all(topic.is_silent(timeout_s) for topic in topics)


def why_no_frame(
    topics: Sequence[TopicState],
    slop_s: float,
    timeout_s: float,
    remedy: str,
    is_clock_standing: bool = False,
    silence_s: float | None = None,
) -> DiagnosticEvent:
    """Return the most likely reason why no synchronised frame comes.

    Args:
        topics: What is known of each input.
        slop_s: Largest difference of stamps of one frame.
        timeout_s: Seconds without a message after which a topic is silent.
        remedy: What to do where the transport drops images.
        is_clock_standing: Whether the node takes its time from /clock and that stands still.
        silence_s: For how long no frame has come; None = `timeout_s`.
    """
    prefix = f"no frame for {_seconds_text(timeout_s if silence_s is None else silence_s)} s: "
    missing = [topic for topic in topics if topic.is_missing(timeout_s)]
    event = (
        _unpublished_event(topics, missing, timeout_s)
        or _mismatch_event(missing)
        or _silent_event(missing, remedy, is_clock_standing)
        or _unmatched_stamps_event(topics, slop_s)
    )
    return DiagnosticEvent(event.reason, prefix + event.text)


def _unpublished_event(
    topics: Sequence[TopicState], missing: Sequence[TopicState], timeout_s: float
) -> DiagnosticEvent | None:
    images_missing = all(topic.is_missing(timeout_s) for topic in topics if not topic.is_persistent)
    if images_missing and not any(topic.publisher_types for topic in topics):
        return DiagnosticEvent(
            "no_publishers", f"nobody publishes {_names(topics)}: start the camera, or remap {_inputs(topics)}"
        )
    unpublished = [topic for topic in missing if not topic.publisher_types]
    if unpublished:
        return DiagnosticEvent(
            "topic_missing",
            f"nobody publishes {_names(unpublished)}: switch that stream on in the camera driver "
            f"(RealSense depth: align_depth.enable:=true), or remap {_inputs(unpublished)}",
        )
    return None


def _mismatch_event(missing: Sequence[TopicState]) -> DiagnosticEvent | None:
    """Return an event for the first topic that is published with another type or QoS."""
    for topic in missing:
        if topic.publisher_types and topic.expected_type not in topic.publisher_types:
            return DiagnosticEvent(
                "wrong_type",
                f"{topic.topic} carries {topic.publisher_types[0]}, but {topic.expected_type} is expected: "
                f"set {topic.input}_transport to match, or remap {topic.input}",
            )
    for topic in missing:
        if topic.incompatible_policy:
            return DiagnosticEvent("qos_incompatible", incompatible_qos_text(topic.topic, topic.incompatible_policy))
    return None


def _silent_event(missing: Sequence[TopicState], remedy: str, is_clock_standing: bool) -> DiagnosticEvent | None:
    if not missing:
        return None
    if is_clock_standing:
        return DiagnosticEvent(
            "clock_stands",
            "use_sim_time is true and /clock stands still: the bag or the simulation is paused or has ended; "
            "play on, or set use_sim_time to false",
        )
    return DiagnosticEvent(
        "nothing_arrives",
        f"nothing arrives on {_names(missing)}, though it is published: the camera has stopped, or its "
        f"images are lost in the transport; {remedy}",
    )


def _unmatched_stamps_event(topics: Sequence[TopicState], slop_s: float) -> DiagnosticEvent:
    shared = [topic for topic in topics if len(topic.publisher_types) > 1]
    if shared:
        publishers = _publishers_text(shared[0].publisher_nodes, len(shared[0].publisher_types))
        return DiagnosticEvent(
            "two_publishers",
            f"{_names(shared)} has {publishers}, whose stamps do not go together: stop all but one, or remap "
            f"{_inputs(shared)}",
        )
    difference_s = _smallest_difference_s([topic for topic in topics if not topic.is_persistent] or topics)
    remedy = (
        "give the drivers one clock, or raise slop"
        if difference_s <= MAX_ADVISED_SLOP_S
        else "these are different clocks (time since a driver's start, use_sim_time in one node, computers without NTP)"
        ": give the drivers one clock"
    )
    return DiagnosticEvent(
        "stamps_never_match",
        f"all topics arrive, but their stamps never match: the nearest are {_difference_text(difference_s)} and slop "
        f"is {slop_s:g} s: {remedy}",
    )


def _smallest_difference_s(topics: Sequence[TopicState]) -> float:
    """Return the smallest range of stamps over one message of each topic, infinite without messages."""
    ranges = (max(stamps) - min(stamps) for stamps in product(*(topic.stamps_s for topic in topics)))
    return min(ranges, default=float("inf"))


def _difference_text(seconds: float) -> str:
    """Return a time difference in seconds and, where it is long, in a larger unit, too."""
    unit = next(((name, size_s) for name, size_s in TIME_UNITS_S if seconds >= 2 * size_s), None)
    return f"{seconds:.3f} s apart" + ("" if unit is None else f" ({seconds / unit[1]:.1f} {unit[0]})")


def _seconds_text(seconds: float) -> str:
    return f"{seconds:.1f}".removesuffix(".0") if seconds < 10 else f"{seconds:.0f}"


def _publishers_text(nodes: Sequence[str], count: int = 0) -> str:
    """Return the number of publishers, and the names of their nodes where the graph knows several."""
    known = sorted({node for node in nodes if "_UNKNOWN_" not in node})
    named = f" ({', '.join(known)})" if len(known) > 1 else f" (in {known[0]})" if known else ""
    number = max(count, len(nodes))
    return f"{number if number > 1 else 'several'} publishers{named}"


def _names(topics: Sequence[TopicState]) -> str:
    return ", ".join(topic.topic for topic in topics)


def _inputs(topics: Sequence[TopicState]) -> str:
    return ", ".join(topic.input for topic in topics)
