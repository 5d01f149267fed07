"""Messages between the server and processes with a model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_process import Limits
from ism_ros.server.objects.object_info import ObjectInfo
from ism_ros.server.requests.path_object import PathObject

ResponseFields = dict[str, Any]
"""The fields of `schemas.InferenceResponse`."""


@dataclass(frozen=True)
class ModelOptions:
    """Options of a process with a model beyond the model settings.

    Attributes:
        state_folder: Folder of uploaded objects.
        cache_bytes: Memory for objects that requests name by path, bytes.
        preload: The one of these to onboard at start, or None.
        limits: Limits of CAD files.
        log_level: Least level that is logged, as of logging.
    """

    state_folder: Path
    cache_bytes: int = 1 << 30
    preload: PathObject | None = None
    limits: Limits = field(default_factory=Limits)
    log_level: int = logging.INFO


@dataclass(frozen=True)
class AddObject:
    """To the process: onboard an object.

    Attributes:
        spec: The object.
    """

    spec: ObjectSpec


@dataclass(frozen=True)
class RemoveObject:
    """To the process: remove an object.

    Attributes:
        object_id: Its id.
    """

    object_id: str


@dataclass(frozen=True)
class CancelOnboarding:
    """To the process: the object that is being onboarded is not wanted any more."""


@dataclass(frozen=True)
class Loading:
    """Of the process: its models are being loaded.

    Attributes:
        text: What is being loaded.
    """

    text: str


@dataclass(frozen=True)
class Ready:
    """Of the process: its models are loaded.

    Attributes:
        device: Where they run.
        counters: Numbers of cache and device, as in `BatchResults`.
    """

    device: str
    counters: Mapping[str, int]


@dataclass(frozen=True)
class Failed:
    """Of the process: its models could not be loaded.

    Attributes:
        reason: One line.
    """

    reason: str


@dataclass(frozen=True)
class KnownObjects:
    """Of the process: the objects that requests may ask for from now on.

    Attributes:
        objects: All of them.
    """

    objects: tuple[ObjectInfo, ...]


@dataclass(frozen=True)
class ObjectPending:
    """Instead of a response: an object of the request is being onboarded; the request is to be tried again.

    Attributes:
        object_id: The object.
    """

    object_id: str


@dataclass(frozen=True)
class PathObjectsProgress:
    """Of the process: objects that requests named by path and that are being onboarded.

    Attributes:
        progress: Templates rendered and templates to render, by id.
    """

    progress: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class AddProgress:
    """Of the process: progress of `AddObject`.

    Attributes:
        done: Templates rendered.
        total: Templates to render.
    """

    done: int
    total: int


@dataclass(frozen=True)
class ObjectAdded:
    """Of the process: the end of `AddObject`.

    Attributes:
        object_id: The object.
        template_count: Its templates; None where it could not be onboarded.
        reason: Why not, one line.
    """

    object_id: str
    template_count: int | None
    reason: str = ""


@dataclass(frozen=True)
class ObjectRemoved:
    """Of the process: the end of `RemoveObject`.

    Attributes:
        object_id: The object.
    """

    object_id: str


@dataclass(frozen=True)
class BatchResults:
    """Of the process: what became of a batch of requests.

    Attributes:
        results: One for each request: the response's fields, an exception, or `ObjectPending`.
        counters: Numbers of cache and device.
    """

    results: tuple[ResponseFields | Exception | ObjectPending, ...]
    counters: Mapping[str, int]
