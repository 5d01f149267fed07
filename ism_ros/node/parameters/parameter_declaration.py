"""ROS parameters, declared from the one Settings model."""

from __future__ import annotations

import difflib
from typing import Any, get_origin

import annotated_types
from pydantic.fields import FieldInfo
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, ParameterType
from rclpy.node import Node

from ism_ros.config.settings import Changeable, Settings, changeable
from ism_ros.config.sources import load_settings

ROS_PARAMETERS = ("use_sim_time", "start_type_description_service", "qos_overrides.")
"""Beginnings of the names of parameters that are rclpy's own."""
PARAMETER_TYPES = {
    bool: ParameterType.PARAMETER_BOOL,
    int: ParameterType.PARAMETER_INTEGER,
    float: ParameterType.PARAMETER_DOUBLE,
    str: ParameterType.PARAMETER_STRING,
}
"""ROS type of each Python type."""
CHANGEABLE_TEXT: dict[Changeable, str] = {
    "live": "Can change while running.",
    "inactive": "Can change while the node is not active.",
    "unconfigured": "Can change while the node is unconfigured.",
    "start": "Fixed at start.",
}
"""End of a parameter's description: in which states it may change."""


def declare_settings(node: Node) -> Settings:
    """Declare every setting as a parameter and warn of unknown ones.

    Args:
        node: ROS node that was made with automatically_declare_parameters_from_overrides, so that what the user gave
            is checked by Settings, whole numbers for fractions included, instead of being refused by type alone.

    Returns:
        The values: defaults < ISM_* environment < ROS parameters.

    Raises:
        SettingsError: A value cannot be used; its text is one line.
    """
    given = {
        name: parameter.value
        for name, parameter in node.get_parameters_by_prefix("").items()
        if not name.startswith(ROS_PARAMETERS)
    }
    for name in sorted(set(given) - set(Settings.model_fields)):
        near = difflib.get_close_matches(name, Settings.model_fields, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "config/ism.yaml lists all parameters"
        node.get_logger().warning(f"parameter '{name}' is unknown and has no effect; {hint}")
    settings = load_settings(None, {name: value for name, value in given.items() if name in Settings.model_fields})
    for name, field in Settings.model_fields.items():
        if node.has_parameter(name):
            node.undeclare_parameter(name)
        node.declare_parameter(name, getattr(settings, name), describe(name, field), ignore_override=True)
    return settings


def describe(name: str, field: FieldInfo) -> ParameterDescriptor:
    """Return type, range, choices and description of a setting, and in which states it may change."""
    descriptor = ParameterDescriptor(
        name=name,
        type=PARAMETER_TYPES[type(field.default)],
        description=f"{field.description} {CHANGEABLE_TEXT[changeable(name)]}",
        read_only=changeable(name) == "start",
    )
    if get_origin(field.annotation) is not None:
        descriptor.additional_constraints = f"one of: {', '.join(field.annotation.__args__)}"  # type: ignore[union-attr]
    low, high = _bounds(field)
    if low is not None and high is not None:
        if isinstance(field.default, int):
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        else:
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
    return descriptor


def _bounds(field: FieldInfo) -> tuple[Any, Any]:
    low = next((rule.ge for rule in field.metadata if isinstance(rule, annotated_types.Ge)), None)
    high = next((rule.le for rule in field.metadata if isinstance(rule, annotated_types.Le)), None)
    return low, high
