"""Why no frame comes: from what is seen of the topics to one sentence that says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

WIDEST_SLOP_S = 0.5
"""Images further apart show different things: a larger slop would match what does not belong together."""
TIME_UNITS_S = (("years", 365.25 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60))


@dataclass(frozen=True)
class TopicState:
    """What is known of one input.

    input: the name it is subscribed under (rgb, depth, camera_info); topic: the one it is remapped to.
    publisher_types, publisher_nodes: the type of each publisher and the node it belongs to; age_s: since the last
    message, None before the first. stamps_s: stamps of the last messages. incompatible_policy: the QoS policy that is
    demanded of a publisher which does not offer it, empty where all fit. lasts: whether its last message holds until
    the next one, as a calibration does.
    """

    input: str
    topic: str
    expected_type: str
    publisher_types: Sequence[str] = ()
    incompatible_policy: str = ""
    age_s: float | None = None
    stamps_s: Sequence[float] = ()
    publisher_nodes: Sequence[str] = ()
    lasts: bool = False

    def is_silent(self, after_s: float) -> bool:
        """Whether it is missing: nothing came for longer than `after_s`, or ever."""
        return self.is_quiet(after_s) and not (self.lasts and self.age_s is not None)

    def is_quiet(self, after_s: float) -> bool:
        """Whether nothing came for longer than `after_s`, though what came may still hold."""
        return self.age_s is None or self.age_s > after_s


@dataclass(frozen=True)
class Problem:
    """`reason` is a short stable word for counting; `text` says what is wrong and what to do, `count` how often."""

    reason: str
    text: str
    count: int = 1


def qos_incompatible(topic: str, policy: str) -> str:
    """What to do about a publisher of `topic` that does not offer a QoS policy which the subscription demands."""
    if policy == "reliability":
        return (
            f"{topic} is published best effort, but the subscription demands reliable: set the parameter reliability "
            f"to auto or best_effort, and give no qos_overrides.{topic}.subscription.reliability"
        )
    return (
        f"{topic} is published without the {policy} that the subscription demands: leave out "
        f"qos_overrides.{topic}.subscription.{policy}, or change it at the publisher"
    )


def two_publishers(topic: str, input_name: str, nodes: Sequence[str]) -> Problem:
    """What to do about several publishers that take turns on `topic`. nodes: the names of theirs, as far as known."""
    return Problem(
        "two_publishers",
        f"{topic} has {_publishers_named(nodes)}, whose messages are mixed, and so are the results: stop all but one, "
        f"or remap {input_name}",
    )


def are_all_gone(topics: Sequence[TopicState], after_s: float) -> bool:
    """Whether nothing arrives any more on any topic."""
    return all(topic.is_quiet(after_s) for topic in topics)


def why_no_frame(
    topics: Sequence[TopicState],
    slop_s: float,
    patience_s: float,
    remedy: str,
    clock_stands: bool = False,
    quiet_s: float | None = None,
) -> Problem:
    """The most likely reason why no synchronised frame comes.

    patience_s: after so long without a message a topic is silent. remedy: what to do where the transport loses images.
    clock_stands: the node takes its time from /clock, and that has not moved. quiet_s: for how long no frame has come,
    `patience_s` where left out.
    """
    silent = [topic for topic in topics if topic.is_silent(patience_s)]
    unpublished = [topic for topic in silent if not topic.publisher_types]
    mistyped = [t for t in silent if t.publisher_types and t.expected_type not in t.publisher_types]
    incompatible = [topic for topic in silent if topic.incompatible_policy]
    prefix = f"no frame for {_seconds(patience_s if quiet_s is None else quiet_s)} s: "
    images_gone = all(topic.is_silent(patience_s) for topic in topics if not topic.lasts)
    if images_gone and not any(topic.publisher_types for topic in topics):
        return Problem(
            "no_publishers", f"{prefix}nobody publishes {_names(topics)}: start the camera, or remap {_inputs(topics)}"
        )
    if unpublished:
        return Problem(
            "topic_missing",
            f"{prefix}nobody publishes {_names(unpublished)}: switch that stream on in the camera driver "
            f"(RealSense depth: align_depth.enable:=true), or remap {_inputs(unpublished)}",
        )
    if mistyped:
        first = mistyped[0]
        return Problem(
            "wrong_type",
            f"{prefix}{first.topic} carries {first.publisher_types[0]}, but {first.expected_type} is expected: "
            f"set {first.input}_transport to match, or remap {first.input}",
        )
    if incompatible:
        first = incompatible[0]
        return Problem("qos_incompatible", f"{prefix}{qos_incompatible(first.topic, first.incompatible_policy)}")
    if silent and clock_stands:
        return Problem(
            "clock_stands",
            f"{prefix}use_sim_time is true and /clock stands still: the bag or the simulation is paused or has ended; "
            "play on, or set use_sim_time to false",
        )
    if silent:
        return Problem(
            "nothing_arrives",
            f"{prefix}nothing arrives on {_names(silent)}, though it is published: the camera has stopped, or its "
            f"images are lost in the transport; {remedy}",
        )
    crowded = [topic for topic in topics if len(topic.publisher_types) > 1]
    if crowded:
        first = crowded[0]
        publishers = _publishers_named(first.publisher_nodes, len(first.publisher_types))
        return Problem(
            "two_publishers",
            f"{prefix}{_names(crowded)} has {publishers}, whose stamps do not go together: stop all but one, or remap "
            f"{_inputs(crowded)}",
        )
    apart_s = _nearest_s([topic for topic in topics if not topic.lasts] or topics)
    what_to_do = (
        "give the drivers one clock, or raise slop"
        if apart_s <= WIDEST_SLOP_S
        else "these are different clocks (time since a driver's start, use_sim_time in one node, computers without NTP)"
        ": give the drivers one clock"
    )
    return Problem(
        "stamps_never_match",
        f"{prefix}all topics arrive, but their stamps never match: the nearest are {_apart(apart_s)} and slop "
        f"is {slop_s:g} s: {what_to_do}",
    )


def _nearest_s(topics: Sequence[TopicState]) -> float:
    """The smallest spread of stamps over one message of each topic."""
    spreads = (max(stamps) - min(stamps) for stamps in product(*(topic.stamps_s for topic in topics)))
    return min(spreads, default=float("inf"))


def _apart(seconds: float) -> str:
    """In seconds, and where that is much in larger units, too."""
    unit = next(((name, size_s) for name, size_s in TIME_UNITS_S if seconds >= 2 * size_s), None)
    return f"{seconds:.3f} s apart" + ("" if unit is None else f" ({seconds / unit[1]:.1f} {unit[0]})")


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f}".removesuffix(".0") if seconds < 10 else f"{seconds:.0f}"


def _publishers_named(nodes: Sequence[str], count: int = 0) -> str:
    """How many publishers, and of which nodes where the graph knows several."""
    known = sorted({node for node in nodes if "_UNKNOWN_" not in node})
    named = f" ({', '.join(known)})" if len(known) > 1 else f" (in {known[0]})" if known else ""
    many = max(count, len(nodes))
    return f"{many if many > 1 else 'several'} publishers{named}"


def _names(topics: Sequence[TopicState]) -> str:
    return ", ".join(topic.topic for topic in topics)


def _inputs(topics: Sequence[TopicState]) -> str:
    return ", ".join(topic.input for topic in topics)
