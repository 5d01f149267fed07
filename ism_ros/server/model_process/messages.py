"""What the server and its workers tell each other."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ism_ros.checks.input_warnings import InputWarning
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_process import Limits
from ism_ros.server.model_process.object_cache import NamedObject


@dataclass(frozen=True)
class WorkerOptions:
    """state_folder: of uploaded objects. cache_bytes: for objects named by path. preload: the one of them to load at
    start. limits: of CAD files. log_level: of logging."""

    state_folder: Path
    cache_bytes: int = 1 << 30
    preload: NamedObject | None = None
    limits: Limits = field(default_factory=Limits)
    log_level: int = logging.INFO


@dataclass(frozen=True)
class ObjectState:
    """An object that requests can ask for by id. size_m: sides of its box, None where they are not known. warnings:
    doubts about its files."""

    id: str
    category_id: int
    template_count: int
    size_m: tuple[float, float, float] | None = None
    warnings: tuple[InputWarning, ...] = ()


@dataclass(frozen=True)
class AddObject:
    spec: ObjectSpec


@dataclass(frozen=True)
class RemoveObject:
    object_id: str


@dataclass(frozen=True)
class Cancel:
    """The object that is being onboarded is not wanted any more."""


@dataclass(frozen=True)
class Loading:
    text: str


@dataclass(frozen=True)
class Ready:
    """state: of cache and device, as in Answers."""

    device: str
    state: Mapping[str, int]


@dataclass(frozen=True)
class Failed:
    """The models could not be loaded."""

    why: str


@dataclass(frozen=True)
class Objects:
    """All that are known from now on."""

    objects: tuple[ObjectState, ...]


@dataclass(frozen=True)
class NotYet:
    """The answer to a request for an object that is being onboarded: to be asked again."""

    object_id: str


@dataclass(frozen=True)
class Onboarding:
    """Objects that requests named by path and that are being onboarded: id to views rendered and views."""

    progress: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Progressed:
    done: int
    total: int


@dataclass(frozen=True)
class Added:
    """template_count: None where it failed, `why` says why."""

    object_id: str
    template_count: int | None
    why: str = ""


@dataclass(frozen=True)
class Removed:
    object_id: str


@dataclass(frozen=True)
class LogLine:
    level: int
    logger: str
    text: str
    request_id: str


@dataclass(frozen=True)
class Answers:
    """One answer a request: the fields of schemas.InferenceAnswer, an exception, or NotYet. state: of cache and
    device."""

    answers: tuple[dict[str, Any] | Exception | NotYet, ...]
    state: Mapping[str, int]
