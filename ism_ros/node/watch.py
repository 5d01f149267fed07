"""Why no frame comes: from what is seen of the topics to one sentence that says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True)
class TopicState:
    """What is known of one input.

    input: the name it is subscribed under (rgb, depth, camera_info); topic: the one it is remapped to.
    publisher_types: the type of each publisher; age_s: since the last message, None before the first.
    stamps_s: stamps of the last messages. incompatible_policy: the QoS policy that is demanded of a publisher which
    does not offer it, empty where all fit.
    """

    input: str
    topic: str
    expected_type: str
    publisher_types: Sequence[str] = ()
    incompatible_policy: str = ""
    age_s: float | None = None
    stamps_s: Sequence[float] = ()

    def is_silent(self, after_s: float) -> bool:
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


def why_no_frame(
    topics: Sequence[TopicState], slop_s: float, patience_s: float, remedy: str, clock_stands: bool = False
) -> Problem:
    """The most likely reason why no synchronised frame came for `patience_s` seconds.

    remedy: what to do where the transport loses images. clock_stands: the node takes its time from /clock, and that
    has not moved.
    """
    silent = [topic for topic in topics if topic.is_silent(patience_s)]
    unpublished = [topic for topic in silent if not topic.publisher_types]
    mistyped = [t for t in silent if t.publisher_types and t.expected_type not in t.publisher_types]
    incompatible = [topic for topic in silent if topic.incompatible_policy]
    prefix = f"no frame for {patience_s:g} s: "
    if len(unpublished) == len(topics):
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
        return Problem(
            "two_publishers",
            f"{prefix}{_names(crowded)} has {len(crowded[0].publisher_types)} publishers, whose stamps do not go "
            f"together: stop all but one, or remap {_inputs(crowded)}",
        )
    return Problem(
        "stamps_never_match",
        f"{prefix}all topics arrive, but their stamps never match: the nearest are "
        f"{_nearest_s(topics):.3f} s apart and slop is {slop_s:g} s: give the drivers one clock, or raise slop",
    )


def _nearest_s(topics: Sequence[TopicState]) -> float:
    """The smallest spread of stamps over one message of each topic."""
    spreads = (max(stamps) - min(stamps) for stamps in product(*(topic.stamps_s for topic in topics)))
    return min(spreads, default=float("inf"))


def _names(topics: Sequence[TopicState]) -> str:
    return ", ".join(topic.topic for topic in topics)


def _inputs(topics: Sequence[TopicState]) -> str:
    return ", ".join(topic.input for topic in topics)
