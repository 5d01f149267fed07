"""Objects as the server knows them without their templates, and what holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ism_ros.checks.input_warnings import InputWarning
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_builder import Progress


@dataclass(frozen=True)
class ObjectInfo:
    """An object that requests can ask for by id.

    Attributes:
        id: Its class_id.
        category_id: Its number in COCO output.
        template_count: Templates that it has.
        size_m: Sides of its box, metres; None where they are not known.
        warnings: Doubts about its files.
    """

    id: str
    category_id: int
    template_count: int
    size_m: tuple[float, float, float] | None = None
    warnings: tuple[InputWarning, ...] = ()


class ObjectTarget(Protocol):
    """What objects are added to and removed from: a model, or all backends together."""

    def add_object(self, spec: ObjectSpec) -> object:
        """Onboard an object.

        Args:
            spec: The object.

        Raises:
            ValueError: It cannot be used; one line says why.
            OSError: The same, of its files.
            BackendDiedError: The process ended meanwhile.
        """
        ...

    def remove_object(self, object_id: str) -> None:
        """Remove an object; one that is not known does not matter.

        Args:
            object_id: Its id.
        """
        ...


class ObjectHost(Protocol):
    """What onboards objects for jobs while requests are served."""

    @property
    def state(self) -> str:
        """Return "loading", "ready" or "failed"."""
        ...

    @property
    def objects(self) -> tuple[ObjectInfo, ...]:
        """Return all objects that requests may ask for."""
        ...

    def check_ready(self) -> None:
        """Raise RequestError 503 while no model is ready."""
        ...

    def add_object(self, spec: ObjectSpec, progress: Progress | None = None) -> int:
        """Onboard an object.

        Args:
            spec: The object.
            progress: Called with templates rendered and templates to render; an exception of it cancels.

        Returns:
            The number of its templates.

        Raises:
            ValueError: It cannot be used; one line says why.
            BackendDiedError: The process ended meanwhile.
        """
        ...

    def remove_object(self, object_id: str) -> None:
        """Remove an object; one that is not known does not matter.

        Args:
            object_id: Its id.
        """
        ...
