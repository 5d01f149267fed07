"""QoS of subscriptions and publishers: overrides by parameter, and events where it does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSPolicyKind
from rclpy.qos_overriding_options import QoSOverridingOptions

from ism_ros.config.settings import SettingsError

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

PREFIX = "qos_overrides."
"""Beginning of the names of parameters that override QoS."""
ROS_TOPICS = ("/clock", "/parameter_events", "/rosout")
"""Topics that rclpy itself subscribes or publishes, with overrides of its own."""


def given_overrides(node: Node, topic: str, entity: str) -> QoSOverridingOptions | None:
    """Return the QoS overrides that the user has given, for create_subscription or create_publisher.

    Only what was given: rclpy would declare the rest as read-only parameters, which then outlive a change of
    reliability.

    Args:
        node: Has the parameters `qos_overrides.<topic>.<entity>.<policy>`.
        topic: Fully resolved name.
        entity: `subscription` or `publisher`.

    Returns:
        None where nothing was given.

    Raises:
        SettingsError: A parameter names an unknown policy.
    """
    prefix = f"{PREFIX}{topic}.{entity}."
    given = [name[len(prefix) :] for name in _override_names(node) if name.startswith(prefix)]
    known = {kind.name.lower(): kind for kind in QoSPolicyKind if kind.name != "INVALID"}
    for policy in given:
        if policy not in known:
            raise SettingsError(f"parameter '{prefix}{policy}' names no QoS policy; known: {', '.join(sorted(known))}")
    return QoSOverridingOptions([known[policy] for policy in given]) if given else None


def is_overridden(node: Node, topic: str, policy: str) -> bool:
    """Return whether the user has given this policy for the subscription to `topic`."""
    return bool(node.has_parameter(f"{PREFIX}{topic}.subscription.{policy}"))


def unused_override_warnings(node: Node, subscribed: Sequence[str], published: Iterable[str]) -> list[str]:
    """Return a sentence for each override parameter that has no effect.

    Args:
        node: ROS node with the parameters.
        subscribed: Whole names of the topics that it subscribes.
        published: Whole names of the topics that it publishes.
    """
    used = (
        *(f"{PREFIX}{topic}.subscription." for topic in subscribed),
        *(f"{PREFIX}{topic}.publisher." for topic in published),
        *(f"{PREFIX}{topic}." for topic in ROS_TOPICS),
    )
    return [
        f"parameter '{name}' has no effect: this node subscribes to {', '.join(subscribed)} and publishes its "
        "results; the form is qos_overrides.<whole topic>.subscription.<policy>, or .publisher.<policy>"
        for name in _override_names(node)
        if not name.startswith(used)
    ]


def subscription_events(
    on_incompatible: Callable[[Any], None], on_lost: Callable[[Any], None]
) -> SubscriptionEventCallbacks:
    """Return event callbacks of a subscription.

    Args:
        on_incompatible: Called when a publisher does not offer what is demanded.
        on_lost: Called when the transport has lost messages.
    """
    return SubscriptionEventCallbacks(incompatible_qos=on_incompatible, message_lost=on_lost)


def publisher_events(on_incompatible: Callable[[Any], None]) -> PublisherEventCallbacks:
    """Return event callbacks of a publisher.

    Args:
        on_incompatible: Called when a subscriber demands what is not offered.
    """
    return PublisherEventCallbacks(incompatible_qos=on_incompatible)


def policy_name(kind: int) -> str:
    """Return the name of the QoS policy in an 'incompatible' event: reliability, durability, ..."""
    try:
        return str(QoSPolicyKind(kind).name).lower()
    except ValueError:
        return "QoS"


def _override_names(node: Node) -> list[str]:
    return [name for name in node.get_parameters_by_prefix("") if name.startswith(PREFIX)]
