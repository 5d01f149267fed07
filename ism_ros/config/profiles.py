"""Profiles: settings that belong together, and those that suit a segmentor or a pair of models."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ism_ros.checkpoints.catalog import PROFILES as CHECKPOINTS_OF_PROFILES
from ism_ros.checkpoints.catalog import checkpoint_named
from ism_ros.config.settings import Settings
from ism_ros.segmentors.base import SAM6D_THRESHOLDS, SEGMENTORS


def _models(profile: str) -> dict[str, str]:
    """Segmentor and descriptor of a profile, as settings."""
    segmentor, descriptor = (checkpoint_named(name) for name in CHECKPOINTS_OF_PROFILES[profile])
    return {
        "segmentor": segmentor.family,
        "segmentor_model": segmentor.model,
        "descriptor": descriptor.family,
        "descriptor_model": descriptor.model,
    }


PROFILES: dict[str, dict[str, Any]] = {
    "embedded": {"segmentor": "tiny", "descriptor": "tiny"},
    "fast": {**_models("fast"), "score_threshold": 0.2, "prompts": "guided"},
    "balanced": {**_models("balanced"), "score_threshold": 0.2},
    "accurate": {**_models("accurate"), **SAM6D_THRESHOLDS},
}
"""Settings of each profile, beside those of its segmentor. `accurate` is SAM-6D as published."""


def changed_models(settings: Settings, given: Mapping[str, Any]) -> dict[str, Any]:
    """Find the other settings that change with a new profile, segmentor or descriptor.

    Settings of the old profile or pair of models are reset to their defaults first; then those of the new one apply.

    Args:
        settings: The current settings.
        given: New values of `profile`, `segmentor` and `descriptor`, those that the user sets.

    Returns:
        The other settings that change, by name.
    """
    values = settings.model_dump()
    old = _preset(values)
    left = {name: Settings.model_fields[name].default for name, value in old.items() if values[name] == value}
    wanted = with_profile({**values, **left, **given}, given)
    return {
        name: wanted[name] for name in {**old, **_preset(wanted)} if name not in given and wanted[name] != values[name]
    }


def with_profile(values: Mapping[str, Any], explicit: Collection[str] = ()) -> dict[str, Any]:
    """Fill in the settings of a profile, or without one the thresholds of the pair of models; then the segmentor's own.

    Precedence for each of these settings:

    | value                             | in `explicit` | result          |
    |-----------------------------------|---------------|-----------------|
    | left out, or equal to its default | no            | filled in       |
    | anything                          | yes           | as it is        |
    | other than its default            | no            | as it is        |

    A profile's model does not apply to another segmentor or descriptor that is chosen with it: that one has its default
    model.

    Args:
        values: Settings by name.
        explicit: Names of settings given on the command line.

    Returns:
        `values` with the settings that were filled in.
    """
    preset = _of_profile(values)
    left = _left_at_default(values, preset, explicit)
    result = {**values, **left}
    for kind in ("segmentor", "descriptor"):
        if f"{kind}_model" in left and result[kind] != preset[kind]:
            result[f"{kind}_model"] = Settings.model_fields[f"{kind}_model"].default
    return {**result, **_left_at_default(result, _of_models(result), explicit)}


def _left_at_default(
    values: Mapping[str, Any], preset: Mapping[str, Any], explicit: Collection[str]
) -> Mapping[str, Any]:
    """Return what of `preset` applies: settings neither in `explicit` nor at another value than their default."""
    defaults = {name: Settings.model_fields[name].default for name in preset}
    return {
        name: value
        for name, value in preset.items()
        if name not in explicit and values.get(name, defaults[name]) == defaults[name]
    }


def _preset(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return all that the profile of `values`, its segmentor and its pair of models set."""
    return {**_of_models(values), **_of_profile(values)}


def _of_profile(values: Mapping[str, Any]) -> Mapping[str, Any]:
    return PROFILES.get(str(values.get("profile", "")), {})


def _of_models(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of the segmentor of `values`, and without a profile those of it with the descriptor."""
    try:
        spec = SEGMENTORS.get(str(values.get("segmentor", "")))
    except ValueError:  # left out, or an error where it is loaded
        return {}
    pair = {} if _of_profile(values) else spec.thresholds.get(str(values.get("descriptor", "")), {})
    return {**spec.settings, **pair}
