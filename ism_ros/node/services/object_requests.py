"""Objects in requests and responses: what a request asks for as a spec, and a spec as a message."""

from __future__ import annotations

import os
from pathlib import Path

from geometry_msgs.msg import Vector3

from ism_ros.cad.colors import color_text, parse_color
from ism_ros.cad.units import resolve_units
from ism_ros.msg import ObjectInfo
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.library import ObjectLibrary
from ism_ros.objects.spec import ObjectSpec
from ism_ros.srv import AddObject


def spec_of_request(request: AddObject.Request, library: ObjectLibrary) -> ObjectSpec:
    """Read a request to add an object.

    Args:
        request: The request.
        library: The objects there are, whose category ids are taken.

    Raises:
        ValueError: The request cannot be met; the text says why.
    """
    if not request.id.strip():
        raise ValueError("the object needs an id")
    if not request.cad and not request.templates:
        raise ValueError(f"object '{request.id}' needs a CAD file, a template folder, or both")
    cad = _absolute(request.cad)
    if request.color and cad is None:
        raise ValueError(f"object '{request.id}': color is for a CAD file; templates have their own")
    try:
        units = resolve_units(cad, request.units)
        color = parse_color(request.color) if request.color else None
    except ValueError as error:
        raise ValueError(f"object '{request.id}': {error}") from None
    category_id = _category_id(request, library)
    return ObjectSpec(request.id, cad, units, _absolute(request.templates), category_id, color)


def object_info(known: KnownObject, spec: ObjectSpec | None) -> ObjectInfo:
    """Return an object as `~/list_objects` has it.

    Args:
        known: The object in the library.
        spec: Where it came from, None where that is not known.
    """
    x, y, z = known.size_m or (0.0, 0.0, 0.0)
    return ObjectInfo(
        id=known.id,
        cad=str(spec.cad) if spec is not None and spec.cad is not None else "",
        units=spec.units if spec is not None else "",
        color=color_text(spec.color) if spec is not None and spec.color is not None else "",
        size=Vector3(x=x, y=y, z=z),
        warnings=[warning.text for warning in known.warnings],
        templates=str(spec.templates) if spec is not None and spec.templates is not None else "",
        num_templates=known.template_count,
        category_id=known.category_id,
    )


def _category_id(request: AddObject.Request, library: ObjectLibrary) -> int:
    """Return the requested category id, that of the object that is replaced, or the next free one."""
    taken = dict(zip(library.ids, library.category_ids, strict=True))
    own = taken.pop(request.id, None)
    owner = next((name for name, number in taken.items() if number == request.category_id), None)
    if owner is not None:
        raise ValueError(
            f"object '{request.id}': category_id {request.category_id} is already that of '{owner}'; "
            "give it another one, or 0 for the next free one"
        )
    return int(request.category_id or own or max(taken.values(), default=0) + 1)


def _absolute(text: str) -> Path | None:
    return Path(os.path.abspath(Path(text).expanduser())) if text else None
