"""`~/add_object`, `~/remove_object`, `~/list_objects`: the library changes, the stream goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup

from ism_ros.msg import ObjectInfo
from ism_ros.objects.objects_file import UNITS, ObjectSpec, declared_units
from ism_ros.srv import AddObject, ListObjects, RemoveObject

if TYPE_CHECKING:
    from ism_ros.node.ism_node import IsmNode


class ObjectServices:
    """Adding takes as long as rendering takes; it has its own callback group, and listing another."""

    def __init__(self, node: IsmNode) -> None:
        self._node = node
        self._specs: dict[str, ObjectSpec] = {}
        changes = MutuallyExclusiveCallbackGroup()
        node.create_service(AddObject, "~/add_object", self._add, callback_group=changes)
        node.create_service(RemoveObject, "~/remove_object", self._remove, callback_group=changes)
        node.create_service(ListObjects, "~/list_objects", self._list, callback_group=MutuallyExclusiveCallbackGroup())

    def remember(self, specs: Sequence[ObjectSpec]) -> None:
        """What the library was loaded from."""
        self._specs = {spec.id: spec for spec in specs}

    def _add(self, request: AddObject.Request, response: AddObject.Response) -> AddObject.Response:
        model = self._node.model
        if model is None:
            response.message = "the node has no model yet: configure it first"
            return response
        try:
            spec = self._spec(request, model.library.category_ids)
            model.add(spec, lambda done, total: self._node.on_progress(f"adding {spec.id}, template {done} of {total}"))
        except (ValueError, OSError) as error:
            response.message = str(error)
            text = f"object '{request.id}' was not added: {error}"
            self._node.statistics.object_failed(f"{text}; mend that and call ~/add_object again")
            self._node.get_logger().error(text)
        except Exception as error:  # a CAD file can break in more ways than can be listed; the node must live on
            response.message = f"object '{request.id}' could not be onboarded: {type(error).__name__}: {error}"
            self._node.statistics.object_failed(
                f"{response.message}; check its CAD file in a viewer, then call ~/add_object again"
            )
            self._node.get_logger().error(response.message)
        else:
            self._specs[spec.id] = spec
            response.success = True
            known = model.library.objects[model.library.ids.index(spec.id)]
            response.message = f"added '{spec.id}' with {known.template_count} templates"
            self._changed(response.message)
        self._node.on_progress("")
        return response

    def _remove(self, request: RemoveObject.Request, response: RemoveObject.Response) -> RemoveObject.Response:
        model = self._node.model
        if model is None:
            response.message = "the node has no model yet: configure it first"
            return response
        try:
            model.library = model.library.without(request.id)
        except KeyError as error:
            response.message = str(error.args[0])
            return response
        self._specs.pop(request.id, None)
        response.success = True
        response.message = f"removed '{request.id}'"
        self._changed(response.message)
        return response

    def _list(self, request: ListObjects.Request, response: ListObjects.Response) -> ListObjects.Response:
        model = self._node.model
        if model is None:
            return response
        library = model.library
        response.version = library.version
        for known in library.objects:
            spec = self._specs.get(known.id)
            response.objects.append(
                ObjectInfo(
                    id=known.id,
                    cad=str(spec.cad) if spec is not None and spec.cad is not None else "",
                    units=spec.units if spec is not None else "",
                    templates=str(spec.templates) if spec is not None and spec.templates is not None else "",
                    num_templates=known.template_count,
                    category_id=known.category_id,
                )
            )
        return response

    def _spec(self, request: AddObject.Request, taken: Sequence[int]) -> ObjectSpec:
        """The request as a line of an objects file. Raises ValueError."""
        if not request.id:
            raise ValueError("the object needs an id")
        if not request.cad and not request.templates:
            raise ValueError(f"object '{request.id}' needs a CAD file, a template folder, or both")
        cad = Path(request.cad) if request.cad else None
        units = request.units or (declared_units(cad) if cad is not None else None) or "mm"
        if units not in UNITS:
            raise ValueError(f"object '{request.id}' has units '{units}'; choose mm or m")
        return ObjectSpec(
            id=request.id,
            cad=cad,
            units=units,
            templates=Path(request.templates) if request.templates else None,
            category_id=request.category_id or max(taken, default=0) + 1,
        )

    def _changed(self, text: str) -> None:
        self._node.statistics.object_failed("")
        self._node.get_logger().info(text)
        self._node.publish_vision_info()
