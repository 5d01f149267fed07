"""Parameters of a running node: checked together, refused with the reason, taken over together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from ism_ros.config.settings import Settings, SettingsError, changeable, changed_models, check_depth, checked_settings

CHOICES = ("profile", "segmentor", "descriptor")
"""Parameters that set others."""


class LiveParameters:
    """Keeps the one Settings object in step with the parameters of `node`.

    state: the label of the lifecycle state. take_over: told the new settings once every parameter of a request is
    accepted, so that nothing ever sees half of a request.
    """

    def __init__(
        self, node: Node, settings: Settings, state: Callable[[], str], take_over: Callable[[Settings], None]
    ) -> None:
        self._settings = settings
        self._state = state
        self._take_over = take_over
        # Humble knows only the second of the three; there a request is taken over as soon as it is checked
        self._is_told_after = hasattr(node, "add_post_set_parameters_callback")
        if self._is_told_after:
            node.add_pre_set_parameters_callback(self._complete)
            node.add_post_set_parameters_callback(self._accept)
        node.add_on_set_parameters_callback(self._check)

    def _complete(self, parameters: list[Parameter[Any]]) -> list[Parameter[Any]]:
        """Whole numbers for fractions as fractions; with another profile or other models all that these set."""
        complete = [_as_declared(parameter) for parameter in parameters]
        given = {parameter.name: parameter.value for parameter in complete}
        chosen = {name: given[name] for name in CHOICES if isinstance(given.get(name), str)}
        if chosen:
            more = changed_models(self._settings, chosen)
            complete += [Parameter(name, value=value) for name, value in more.items() if name not in given]
        return complete

    def _check(self, parameters: Sequence[Parameter[Any]]) -> SetParametersResult:
        try:
            settings = self._with(parameters)
            state = self._state()
            refuse_fixed(self._settings, settings, state)
            if state != "unconfigured":
                check_depth(settings)
        except SettingsError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if not self._is_told_after:
            self._accept(parameters)
        return SetParametersResult(successful=True)

    def _accept(self, parameters: Sequence[Parameter[Any]]) -> None:
        settings = self._with(parameters)
        if settings != self._settings:
            self._settings = settings
            self._take_over(settings)

    def _with(self, parameters: Sequence[Parameter[Any]]) -> Settings:
        changes = {p.name: p.value for p in parameters if p.name in Settings.model_fields}
        return checked_settings({**self._settings.model_dump(), **changes})


def refuse_fixed(old: Settings, new: Settings, state: str) -> None:
    """SettingsError, with what to do first, where a setting differs that must not change in this lifecycle state."""
    before, after = old.model_dump(), new.model_dump()
    changed = [name for name in before if before[name] != after[name]]
    loaded = [name for name in changed if changeable(name) == "unconfigured"]
    if loaded and state != "unconfigured":
        way = [*(["deactivate"] if state == "active" else []), "cleanup", "set", "configure"]
        way += ["activate"] if state == "active" else []
        raise SettingsError(f"{_quoted(loaded)} cannot change while the node is {state}: go through {', '.join(way)}")
    streamed = [name for name in changed if changeable(name) == "inactive"]
    if streamed and state not in ("unconfigured", "inactive"):
        raise SettingsError(
            f"{_quoted(streamed)} cannot change while the node is {state}: go through deactivate, set, activate"
        )


def _as_declared(parameter: Parameter[Any]) -> Parameter[Any]:
    field = Settings.model_fields.get(parameter.name)
    if field is not None and isinstance(field.default, float) and type(parameter.value) is int:
        return Parameter(parameter.name, value=float(parameter.value))
    return parameter


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
