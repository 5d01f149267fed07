"""What to do where a middleware loses images, and QoS that does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSPolicyKind
from rclpy.qos_overriding_options import QoSOverridingOptions

from ism_ros.config.settings import SettingsError

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
PREFIX = "qos_overrides."
TOPICS_OF_ROS = ("/clock", "/parameter_events", "/rosout")


def loss_remedy(middleware: str, environment: Mapping[str, str]) -> str:
    """What to do where images are lost. middleware: the RMW identifier, such as rmw_fastrtps_cpp."""
    if "cyclonedds" in middleware:
        return "run camera and node with config/cyclonedds.xml as CYCLONEDDS_URI (docs/transport.md)"
    if "zenoh" in middleware:
        return "switch on Zenoh's shared memory for camera and node (docs/transport.md)"
    if any(environment.get(name) for name in PROFILE_VARIABLES):
        return "run the camera, too, with a Fast DDS profile like config/fastdds.xml (docs/transport.md)"
    return "run camera and node with the Fast DDS profile config/fastdds.xml (docs/transport.md)"


def given_overrides(node: Node, topic: str, entity: str) -> QoSOverridingOptions | None:
    """The `qos_overrides.<topic>.<entity>.<policy>` that the user has given, for create_subscription or _publisher.

    topic: fully resolved. entity: subscription or publisher. Only what was given: rclpy would declare the rest as
    read-only parameters, which then outlive a change of reliability. Raises SettingsError for an unknown policy.
    """
    prefix = f"{PREFIX}{topic}.{entity}."
    given = [name[len(prefix) :] for name in _override_names(node) if name.startswith(prefix)]
    known = {kind.name.lower(): kind for kind in QoSPolicyKind if kind.name != "INVALID"}
    for policy in given:
        if policy not in known:
            raise SettingsError(f"parameter '{prefix}{policy}' names no QoS policy; known: {', '.join(sorted(known))}")
    return QoSOverridingOptions([known[policy] for policy in given]) if given else None


def is_overridden(node: Node, topic: str, policy: str) -> bool:
    """Whether the user has given this policy for the subscription to `topic`."""
    return bool(node.has_parameter(f"{PREFIX}{topic}.subscription.{policy}"))


def overrides_of_nothing(node: Node, subscribed: Iterable[str], published: Iterable[str]) -> list[str]:
    """Names of overrides for topics that are neither `subscribed` nor `published`."""
    prefixes = (
        *(f"{PREFIX}{topic}.subscription." for topic in subscribed),
        *(f"{PREFIX}{topic}.publisher." for topic in published),
        *(f"{PREFIX}{topic}." for topic in TOPICS_OF_ROS),
    )
    return [name for name in _override_names(node) if not name.startswith(prefixes)]


def subscription_events(
    on_incompatible: Callable[[Any], None], on_lost: Callable[[Any], None]
) -> SubscriptionEventCallbacks:
    """Told of publishers that do not offer what is demanded, and of messages that the transport has lost."""
    return SubscriptionEventCallbacks(incompatible_qos=on_incompatible, message_lost=on_lost)


def publisher_events(on_incompatible: Callable[[Any], None]) -> PublisherEventCallbacks:
    """Told of subscribers that demand what is not offered."""
    return PublisherEventCallbacks(incompatible_qos=on_incompatible)


def policy_name(kind: int) -> str:
    """The QoS policy of an 'incompatible' event: reliability, durability, ..."""
    try:
        return str(QoSPolicyKind(kind).name).lower()
    except ValueError:
        return "QoS"


def _override_names(node: Node) -> list[str]:
    return [name for name in node.get_parameters_by_prefix("") if name.startswith(PREFIX)]
