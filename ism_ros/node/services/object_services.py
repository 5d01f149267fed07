"""`~/add_object`, `~/remove_object`, `~/list_objects`: the library changes, the stream goes on."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from geometry_msgs.msg import Vector3
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType

from ism_ros.cad.colors import colour_text, parse_colour
from ism_ros.cad.units import units_of
from ism_ros.config.settings import Settings, SettingsError
from ism_ros.model import InstanceSegmentationModel
from ism_ros.msg import ObjectInfo
from ism_ros.objects.library import KnownObject, ObjectLibrary
from ism_ros.objects.spec import ObjectsFileError, ObjectSpec
from ism_ros.objects.stores.objects_file import ObjectsStore
from ism_ros.objects.template_process import NICENESS, PreparationProcess, PreparationStoppedError
from ism_ros.runtime.cache_folder import NOT_WRITTEN
from ism_ros.srv import AddObject, ListObjects, RemoveObject

if TYPE_CHECKING:
    from ism_ros.node.node import IsmNode

WATCH_PERIOD_S = 0.5
SIZES_SHOWN = 20
"""In one line of the log."""
RETRY_PERIODS = 20
"""What could not be saved is tried again after so many looks at the objects file."""
NOT_CONFIGURED = "the node has no model yet: configure it first"


class AdditionStoppedError(Exception):
    """An object is not wanted any more while it is being onboarded; the message says why."""


@dataclass
class Addition:
    """An object that is being onboarded. stopped: why it is not wanted any more."""

    id: str
    stopped: str = ""


class ObjectServices:
    """Additions wait for each other in a callback group of their own; removing and listing wait for none.

    `_changing` is held while library, objects file and ~/vision_info go from one version to the next, never while an
    object is rendered or described.
    """

    def __init__(self, node: IsmNode) -> None:
        self._node = node
        self._specs: Mapping[str, ObjectSpec] = {}
        self._store: ObjectsStore | None = None
        self._addition: Addition | None = None
        self._changing = threading.Lock()
        self._cache_problem = self._file_problem = self._unsaved_problem = ""
        self._looks = 0
        self.prepare = PreparationProcess()
        alone = [MutuallyExclusiveCallbackGroup() for _ in range(4)]
        node.create_service(AddObject, "~/add_object", self._add, callback_group=alone[0])
        node.create_service(RemoveObject, "~/remove_object", self._remove, callback_group=alone[1])
        node.create_service(ListObjects, "~/list_objects", self._list, callback_group=alone[2])
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(WATCH_PERIOD_S, self._watch, alone[3], clock=steady)

    @property
    def problem(self) -> str:
        """What a person should know about objects file and cache, '' if nothing."""
        problems = (self._unsaved_problem, self._file_problem, self._cache_problem)
        return "; ".join(problem for problem in problems if problem)

    def begin(self, settings: Settings) -> Sequence[ObjectSpec]:
        """The objects to load. Raises ObjectsFileError, or SettingsError."""
        if settings.save_objects and not settings.objects_file:
            raise SettingsError("save_objects is on, but objects_file names no file to save them in: set it")
        with self._changing:
            specs: Sequence[ObjectSpec] = ()
            if settings.objects_file:
                store = ObjectsStore(Path(settings.objects_file).expanduser(), settings.save_objects)
                specs, self._store = store.read(), store
            self._specs = {spec.id: spec for spec in specs}
        self.prepare.niceness = 0  # nothing else is to be done yet
        return specs

    def end(self, why: str) -> None:
        """Gives up what is being onboarded, and saves for the last time."""
        self._stop_adding(why)
        with self._changing:
            if self._store is not None and self._store.unsaved:
                self._save(self._store)
                if self._store.unsaved:
                    lost = ", ".join(self._store.unsaved)
                    self._node.get_logger().error(f"changes of {lost} are lost: {self._unsaved_problem}")
            self._store = None
            self._cache_problem = self._file_problem = self._unsaved_problem = ""

    def on_warning(self, reason: str, text: str) -> None:
        """Told of what onboarding warns about."""
        if reason == NOT_WRITTEN:
            self._cache_problem = f"{text}: free space, or set cache_dir; until then every start renders anew"

    def _add(self, request: AddObject.Request, response: AddObject.Response) -> AddObject.Response:
        model = self._node.model
        if model is None:
            response.message = NOT_CONFIGURED
            return response
        log = self._node.get_logger()
        try:
            response.message = self._added(model, request)
            response.success = True
            log.info(response.message)
        except (AdditionStoppedError, PreparationStoppedError) as error:
            why = self._addition.stopped if self._addition is not None else ""
            response.message = f"object '{request.id}' was not added: {why or error or 'the node is ending'}"
            if not self._node.is_stopping:
                log.info(response.message)
        except (ValueError, OSError) as error:
            response.message = str(error)
            self._failed(f"object '{request.id}' was not added: {error}", "mend that and call ~/add_object again")
        except Exception as error:  # a model can fail in more ways than can be listed; the node must live on
            response.message = f"object '{request.id}' could not be onboarded: {type(error).__name__}: {error}"
            self._failed(response.message, "check its CAD file in a viewer, then call ~/add_object again")
        self._addition = None
        self._node.show_progress("")
        return response

    def _added(self, model: InstanceSegmentationModel, request: AddObject.Request) -> str:
        """Onboards, changes the library, and says so."""
        spec = self._spec(request, model.library)
        self._addition = addition = Addition(spec.id)
        self._cache_problem = ""
        self._node.show_progress(f"adding {spec.id}")

        def progress(done: int, total: int) -> None:
            if addition.stopped or self._node.is_stopping:
                raise AdditionStoppedError(addition.stopped)
            self._node.show_progress(f"adding {spec.id}, template {done} of {total}")

        self.prepare.niceness = NICENESS
        known = model.onboard(spec, progress)
        with self._changing:
            if addition.stopped or self._node.is_stopping or self._node.model is not model:
                raise AdditionStoppedError(addition.stopped)
            verb = "replaced" if spec.id in model.library.ids else "added"
            model.put(known)
            self._specs = {**self._specs, spec.id: spec}
            said = self._changed(spec.id, spec)
        self.say_doubts(known)
        doubts = "".join(f"; warning: {warning.text}" for warning in known.warnings)
        return f"{verb} '{spec.id}' with {known.template_count} templates, {known.size_text}{said}{doubts}"

    def say_loaded(self, library: ObjectLibrary) -> None:
        """What was onboarded at the start: sizes, so that wrong units are seen at a glance, and doubts."""
        sizes = ", ".join(f"{known.id} {known.size_text}" for known in library.objects[:SIZES_SHOWN])
        more = f" and {len(library) - SIZES_SHOWN} more" if len(library) > SIZES_SHOWN else ""
        if sizes:
            self._node.get_logger().info(f"sizes: {sizes}{more}")
        for known in library.objects:
            self.say_doubts(known)

    def say_doubts(self, known: KnownObject) -> None:
        """In the log, once an onboarding; /diagnostics goes on showing them."""
        for warning in known.warnings:
            self._node.statistics.noticed(warning.reason)
            self._node.get_logger().warning(warning.text)

    def _remove(self, request: RemoveObject.Request, response: RemoveObject.Response) -> RemoveObject.Response:
        model = self._node.model
        if model is None:
            response.message = NOT_CONFIGURED
            return response
        with self._changing:
            addition = self._addition
            if addition is not None and addition.id == request.id:
                self._stop_adding("it was removed meanwhile")
                response.message = f"stopped adding '{request.id}'"
                response.success = True
            if request.id in model.library.ids:
                model.library = model.library.without(request.id)
                self._specs = {name: spec for name, spec in self._specs.items() if name != request.id}
                response.success = True
                response.message = f"removed '{request.id}'{self._changed(request.id, None)}"
            elif not response.success:
                known = ", ".join(model.library.ids) or "none"
                response.message = f"object '{request.id}' is not known; known: {known}"
        if response.success:
            self._node.get_logger().info(response.message)
        return response

    def _stop_adding(self, why: str) -> None:
        addition = self._addition
        if addition is not None:
            addition.stopped = why
        self.prepare.stop()

    def _list(self, request: ListObjects.Request, response: ListObjects.Response) -> ListObjects.Response:
        model = self._node.model
        if model is None:
            return response
        library, specs = model.library, self._specs
        response.version = library.version
        for known in library.objects:
            spec = specs.get(known.id)
            x, y, z = known.size_m or (0.0, 0.0, 0.0)
            response.objects.append(
                ObjectInfo(
                    id=known.id,
                    cad=str(spec.cad) if spec is not None and spec.cad is not None else "",
                    units=spec.units if spec is not None else "",
                    color=colour_text(spec.color) if spec is not None and spec.color is not None else "",
                    size=Vector3(x=x, y=y, z=z),
                    warnings=[warning.text for warning in known.warnings],
                    templates=str(spec.templates) if spec is not None and spec.templates is not None else "",
                    num_templates=known.template_count,
                    category_id=known.category_id,
                )
            )
        return response

    def _spec(self, request: AddObject.Request, library: ObjectLibrary) -> ObjectSpec:
        """The request as a line of an objects file. Raises ValueError."""
        if not request.id.strip():
            raise ValueError("the object needs an id")
        if not request.cad and not request.templates:
            raise ValueError(f"object '{request.id}' needs a CAD file, a template folder, or both")
        cad = _absolute(request.cad)
        if request.color and cad is None:
            raise ValueError(f"object '{request.id}': color is for a CAD file; templates have their own")
        try:
            units = units_of(cad, request.units)
            color = parse_colour(request.color) if request.color else None
        except ValueError as error:
            raise ValueError(f"object '{request.id}': {error}") from None
        numbers = dict(zip(library.ids, library.category_ids, strict=True))
        own = numbers.pop(request.id, None)
        owner = next((name for name, number in numbers.items() if number == request.category_id), None)
        if owner is not None:
            raise ValueError(
                f"object '{request.id}': category_id {request.category_id} is already that of '{owner}'; "
                "give it another one, or 0 for the next free one"
            )
        category_id = request.category_id or own or max(numbers.values(), default=0) + 1
        return ObjectSpec(request.id, cad, units, _absolute(request.templates), category_id, color)

    def _failed(self, text: str, remedy: str) -> None:
        self._node.statistics.object_failed(f"{text}; {remedy}")
        self._node.get_logger().error(text)

    def _changed(self, object_id: str, spec: ObjectSpec | None) -> str:
        """Announces and saves one change of the library; what could not be saved, as the end of a sentence."""
        self._node.statistics.object_failed("")
        self._node.publish_vision_info()
        if self._store is None or not self._store.saves:
            return ""
        self._store.change(object_id, spec)
        said = self._save(self._store)
        return f"; {said}" if said else f", saved in {self._store.path}"

    def _save(self, store: ObjectsStore) -> str:
        """Saves what is not saved yet; what went wrong, or '' and the problem is over."""
        try:
            said = store.save()
        except (ObjectsFileError, OSError) as error:
            what = f"{error.strerror}: {store.path}" if isinstance(error, OSError) and error.strerror else str(error)
            self._unsaved_problem = (
                f"changes of {', '.join(store.unsaved)} are not saved ({what}): trying again; free space, or mend what "
                "hinders it"
            )
            return self._unsaved_problem
        if self._unsaved_problem:
            self._node.get_logger().info(f"changes are saved in {store.path} now")
        self._unsaved_problem = ""
        return said

    def _watch(self) -> None:
        """Looks whether somebody else changed the objects file, and tries again to save what could not be saved."""
        if not self._changing.acquire(blocking=False):
            return
        try:
            store = self._store
            if store is None or self._node.model is None:
                return
            self._looks += 1
            if store.unsaved and self._looks % RETRY_PERIODS == 0:
                self._save(store)
            if store.is_edited() and not self._file_problem:
                self._file_problem = (
                    f"{store.path} was edited or replaced after it was read, which this node does not follow: "
                    "deactivate, clean up, configure and activate it to use what is there now"
                )
                self._node.get_logger().warning(self._file_problem)
        finally:
            self._changing.release()


def _absolute(text: str) -> Path | None:
    return Path(os.path.abspath(Path(text).expanduser())) if text else None
