"""Changes of parameters while the node runs: checked together, rejected with the reason, applied together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from ism_ros.config.profiles import changed_models
from ism_ros.config.settings import TRACKING_SWITCH, Settings, SettingsError, changeable, check_depth
from ism_ros.config.sources import checked_settings
from ism_ros.node.context import NodeContext

CHOICES = ("profile", "segmentor", "descriptor")
"""Names of parameters that set others."""


class LiveParameters:
    """Checks requests to set parameters and applies them to the settings."""

    def __init__(self, node: Node, context: NodeContext, apply: Callable[[Settings], None]) -> None:
        """Register the callbacks.

        Args:
            node: ROS node with the parameters.
            context: The settings in force, and the lifecycle state.
            apply: Receives the new settings once every parameter of a request is accepted, so that nothing ever sees
                half of a request.
        """
        self._context = context
        self._apply = apply
        # Humble knows only the second of the three; there a request is applied as soon as it is checked
        self._has_post_callback = hasattr(node, "add_post_set_parameters_callback")
        if self._has_post_callback:
            node.add_pre_set_parameters_callback(self._complete)
            node.add_post_set_parameters_callback(self._accept)
        node.add_on_set_parameters_callback(self._check)

    def _complete(self, parameters: list[Parameter[Any]]) -> list[Parameter[Any]]:
        """Convert whole numbers for fractions, and add what another profile or other models set."""
        complete = [_as_declared(parameter) for parameter in parameters]
        given = {parameter.name: parameter.value for parameter in complete}
        chosen = {name: given[name] for name in CHOICES if isinstance(given.get(name), str)}
        if chosen:
            more = changed_models(self._context.settings(), chosen)
            complete += [Parameter(name, value=value) for name, value in more.items() if name not in given]
        return complete

    def _check(self, parameters: Sequence[Parameter[Any]]) -> SetParametersResult:
        try:
            settings = self._with(parameters)
            state = self._context.state()
            reject_read_only(self._context.settings(), settings, state)
            if state != "unconfigured":
                check_depth(settings)
        except SettingsError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if not self._has_post_callback:
            self._accept(parameters)
        return SetParametersResult(successful=True)

    def _accept(self, parameters: Sequence[Parameter[Any]]) -> None:
        settings = self._with(parameters)
        if settings != self._context.settings():
            self._apply(settings)

    def _with(self, parameters: Sequence[Parameter[Any]]) -> Settings:
        changes = {p.name: p.value for p in parameters if p.name in Settings.model_fields}
        return checked_settings({**self._context.settings().model_dump(), **changes})


def reject_read_only(old: Settings, new: Settings, state: str) -> None:
    """Check that no setting differs that must not change in this lifecycle state.

    Args:
        old: The settings in force.
        new: The requested settings.
        state: Label of the lifecycle state.

    Raises:
        SettingsError: One does; the text says which transitions come first.
    """
    before, after = old.model_dump(), new.model_dump()
    changed = [name for name in before if before[name] != after[name]]
    loaded = [name for name in changed if changeable(name) == "unconfigured"]
    if loaded and state != "unconfigured":
        steps = [*(["deactivate"] if state == "active" else []), "cleanup", "set", "configure"]
        steps += ["activate"] if state == "active" else []
        raise SettingsError(f"{_quoted(loaded)} cannot change while the node is {state}: go through {', '.join(steps)}")
    streamed = [name for name in changed if changeable(name) == "inactive"]
    if streamed and state not in ("unconfigured", "inactive"):
        raise SettingsError(
            f"{_quoted(streamed)} cannot change while the node is {state}: go through deactivate, set, activate"
        )


def _as_declared(parameter: Parameter[Any]) -> Parameter[Any]:
    field = Settings.model_fields.get(parameter.name)
    if field is not None and isinstance(field.default, float) and type(parameter.value) is int:
        return Parameter(parameter.name, value=float(parameter.value))
    if parameter.name == "tracking" and type(parameter.value) is bool:
        return Parameter(parameter.name, value=TRACKING_SWITCH[str(parameter.value).lower()])
    return parameter


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
