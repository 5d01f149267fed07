"""Profiles: settings that belong together, and those that suit a pair of models."""

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
    "fast": {**_models("fast"), "predicted_iou_threshold": 0.8, "score_threshold": 0.2},
    "balanced": {**_models("balanced"), "predicted_iou_threshold": 0.8, "score_threshold": 0.2},
    "accurate": {**_models("accurate"), **SAM6D_THRESHOLDS},
}
"""Settings of each profile. `accurate` is SAM-6D as published; 0.8 is the least predicted IoU of SAM 2's authors."""


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
    """Fill in the settings of a profile, or without one the thresholds of the pair of models.

    Precedence for each setting of the profile or pair:

    | value                             | in `explicit` | result          |
    |-----------------------------------|---------------|-----------------|
    | left out, or equal to its default | no            | the profile's   |
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
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    preset = _preset(values)
    left = {
        name: value
        for name, value in preset.items()
        if name not in explicit and values.get(name, defaults[name]) == defaults[name]
    }
    result = {**values, **left}
    for kind in ("segmentor", "descriptor"):
        if f"{kind}_model" in left and result[kind] != preset[kind]:
            result[f"{kind}_model"] = defaults[f"{kind}_model"]
    return result


def _preset(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of the profile of `values`, or without one those of their segmentor for their descriptor."""
    profile, segmentor, descriptor = (str(values.get(name, "")) for name in ("profile", "segmentor", "descriptor"))
    if profile in PROFILES:
        return PROFILES[profile]
    try:
        return SEGMENTORS.get(segmentor).thresholds.get(descriptor, {})
    except ValueError:  # left out, or an error where it is loaded
        return {}
