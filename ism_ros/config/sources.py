"""Settings from all sources: defaults < YAML < ISM_* environment < ROS parameters or command-line flags."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ism_ros.config.profiles import with_profile
from ism_ros.config.settings import Settings, SettingsError
from ism_ros.errors import first_line


def load_settings(
    yaml_path: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Settings:
    """Load settings from all sources; later ones override earlier ones.

    Args:
        yaml_path: Settings file, the first source after the defaults.
        overrides: Such as ROS parameters; override the environment.
        environment: Read for ISM_* variables, which override the file; None = os.environ.
        flags: Command-line flags; override all others. Unlike other sources, a flag overrides a profile even where it
            equals the default.

    Returns:
        The settings.

    Raises:
        SettingsError: The file cannot be read or a value cannot be used; the message is one line.
    """
    values: dict[str, Any] = {}
    if yaml_path is not None:
        values.update(_read_yaml(yaml_path))
    environment = os.environ if environment is None else environment
    for name in Settings.model_fields:
        text = environment.get(f"ISM_{name.upper()}")
        if text is not None:
            values[name] = text
    values.update(overrides or {})
    values.update(flags or {})
    return checked_settings(with_profile(values, flags or ()))


def checked_settings(values: Mapping[str, Any]) -> Settings:
    """Validate settings.

    Args:
        values: By name; settings that are left out have their defaults.

    Returns:
        The settings.

    Raises:
        SettingsError: A name is unknown or a value cannot be used; the message is one line.
    """
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(entry) for entry in error.errors())) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file, plain or in the ROS form `node_name: {ros__parameters: {...}}`."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings file {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path} is not YAML: {first_line(error)}") from None
    if content is None:
        return {}
    if isinstance(content, dict) and len(content) == 1:
        inner = next(iter(content.values()))
        if isinstance(inner, dict) and "ros__parameters" in inner:
            content = inner["ros__parameters"] or {}
    if not isinstance(content, dict):
        raise SettingsError(f"settings file {path} must be a mapping of names to values")
    return content


def _explain(error: Any) -> str:
    """Format one pydantic error as a sentence: the setting, its value, what is allowed."""
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"setting '{name}' is unknown; known: {', '.join(Settings.model_fields)}"
    return f"setting '{name}' cannot be {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"
