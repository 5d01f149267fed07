"""`~/add_object`, `~/remove_object`, `~/list_objects`: the library changes while the stream goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from ism_ros.model import InstanceSegmentationModel
from ism_ros.node.context import NodeContext
from ism_ros.node.services.object_requests import object_info, spec_of_request
from ism_ros.node.services.objects_file_sync import ObjectsFileSync
from ism_ros.objects.background_onboarding import OnboardingCancelledError, OnboardingProgress, OnboardingQueue
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.library import ObjectLibrary
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_builder import Progress as ProgressCallback
from ism_ros.objects.template_process import NICENESS, TemplateProcess, TemplateProcessStoppedError
from ism_ros.runtime.cache_folder import NOT_WRITTEN
from ism_ros.srv import AddObject, ListObjects, RemoveObject

FILE_CHECK_PERIOD_S = 0.5
"""Time between two checks of the objects file, seconds."""
MAX_LISTED_SIZES = 20
"""Number of objects whose sizes are logged after loading."""
NOT_CONFIGURED = "the node has no model yet: configure it first"
"""Response while there is no model."""


@dataclass
class Addition:
    """An object that is added to a model.

    Attributes:
        model: The model.
        spec: The object.
        message: A sentence about what was done, once it is.
    """

    model: InstanceSegmentationModel
    spec: ObjectSpec
    message: str = ""


class ObjectServices:
    """Adds, removes and lists objects.

    Additions wait for each other in a callback group of their own; removing and listing wait for none. The lock is held
    while library, objects file and ~/vision_info go from one version to the next, never while an object is rendered or
    described.

    Attributes:
        prepare: Renders templates in a process of its own.
    """

    def __init__(self, node: Node, context: NodeContext, publish_change: Callable[[], None]) -> None:
        """Create the services.

        Args:
            node: ROS node.
            context: The model, events and progress.
            publish_change: Publishes the library as it is now.
        """
        self._context = context
        self._publish_change = publish_change
        self._specs: Mapping[str, ObjectSpec] = {}
        self._file = ObjectsFileSync(context.logger)
        self._addition: Addition | None = None
        self._lock = threading.Lock()
        self._cache_problem_since_s = context.events.now_s
        self.prepare = TemplateProcess()
        self._onboarding: OnboardingQueue[KnownObject] = OnboardingQueue(self._onboard, self.prepare.stop)
        groups = [MutuallyExclusiveCallbackGroup() for _ in range(4)]
        node.create_service(AddObject, "~/add_object", self._add, callback_group=groups[0])
        node.create_service(RemoveObject, "~/remove_object", self._remove, callback_group=groups[1])
        node.create_service(ListObjects, "~/list_objects", self._list, callback_group=groups[2])
        # with use_sim_time the node's clock may stand still
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(FILE_CHECK_PERIOD_S, self._check_file, groups[3], clock=steady)

    @property
    def problem(self) -> str:
        """What a person should know about objects file and cache, empty if nothing."""
        return "; ".join(text for text in (*self._file.problems, self._cache_problem) if text)

    def open(self) -> Sequence[ObjectSpec]:
        """Return the objects to load.

        Raises:
            ObjectsFileError: The objects file cannot be used.
            SettingsError: The settings contradict each other.
        """
        with self._lock:
            specs = self._file.open(self._context.settings())
            self._specs = {spec.id: spec for spec in specs}
        self.prepare.niceness = 0  # there is no stream yet that rendering could slow down
        return specs

    def close(self, reason: str) -> None:
        """Stop onboarding and save for the last time.

        Args:
            reason: Why, for the response to whoever waits for an object.
        """
        self._onboarding.cancel(None, reason)
        self.prepare.stop()
        with self._lock:
            self._file.close()
            self._cache_problem_since_s = self._context.events.now_s

    def report_loaded(self, library: ObjectLibrary) -> None:
        """Log what was onboarded at the start: sizes, which show wrong units at a glance, and warnings."""
        sizes = ", ".join(f"{known.id} {known.size_text}" for known in library.objects[:MAX_LISTED_SIZES])
        more = f" and {len(library) - MAX_LISTED_SIZES} more" if len(library) > MAX_LISTED_SIZES else ""
        if sizes:
            self._context.logger.info(f"sizes: {sizes}{more}")
        for known in library.objects:
            self._report_warnings(known)

    # adding

    def _add(self, request: AddObject.Request, response: AddObject.Response) -> AddObject.Response:
        model, log = self._context.model(), self._context.logger
        if model is None:
            response.message = NOT_CONFIGURED
            return response
        try:
            response.message = self._add_to(model, request)
            response.success = True
            log.info(response.message)
        except (OnboardingCancelledError, TemplateProcessStoppedError) as error:
            is_ending = self._context.stopping.is_set()
            response.message = f"object '{request.id}' was not added: {'the node is ending' if is_ending else error}"
            if not is_ending:
                log.info(response.message)
        except (ValueError, OSError) as error:
            response.message = str(error)
            self._report_failure(
                f"object '{request.id}' was not added: {error}", "mend that and call ~/add_object again"
            )
        except Exception as error:  # a model can fail in more ways than can be listed; the node must live on
            response.message = f"object '{request.id}' could not be onboarded: {type(error).__name__}: {error}"
            self._report_failure(response.message, "check its CAD file in a viewer, then call ~/add_object again")
        self._addition = None
        self._context.progress.clear()
        return response

    def _add_to(self, model: InstanceSegmentationModel, request: AddObject.Request) -> str:
        """Onboard an object, change the library and return a sentence about it."""
        self._addition = addition = Addition(model, spec_of_request(request, model.library))
        self._cache_problem_since_s = self._context.events.now_s
        label = f"adding {addition.spec.id}"
        self._context.progress.show(label)
        self.prepare.niceness = NICENESS
        task = self._onboarding.submit(addition.spec, partial(self._put, addition), partial(self._show, label))
        self._report_warnings(task.result())
        return addition.message

    def _onboard(self, spec: ObjectSpec, progress: ProgressCallback) -> KnownObject:
        addition = self._addition
        if addition is None or addition.spec is not spec:
            raise OnboardingCancelledError
        return addition.model.onboard(spec, progress)

    def _show(self, label: str, progress: OnboardingProgress) -> None:
        if self._context.stopping.is_set():
            raise OnboardingCancelledError
        self._context.progress.show_templates(label, progress.done, progress.total)

    def _put(self, addition: Addition, known: KnownObject) -> None:
        """Change the library, unless the model is gone meanwhile."""
        model, spec = addition.model, addition.spec
        with self._lock:
            if self._context.stopping.is_set() or self._context.model() is not model:
                raise OnboardingCancelledError("the node was cleaned up")
            verb = "replaced" if spec.id in model.library.ids else "added"
            model.put(known)
            self._specs = {**self._specs, spec.id: spec}
            saved = self._change_done(spec.id, spec)
        warnings = "".join(f"; warning: {warning.text}" for warning in known.warnings)
        addition.message = (
            f"{verb} '{spec.id}' with {known.template_count} templates, {known.size_text}{saved}{warnings}"
        )

    # removing and listing

    def _remove(self, request: RemoveObject.Request, response: RemoveObject.Response) -> RemoveObject.Response:
        model = self._context.model()
        if model is None:
            response.message = NOT_CONFIGURED
            return response
        # outside of the lock, which an addition takes at its end: it is either cancelled or done
        if self._onboarding.cancel(request.id, "it was removed meanwhile"):
            response.message = f"stopped adding '{request.id}'"
            response.success = True
        with self._lock:
            if request.id in model.library.ids:
                model.library = model.library.without(request.id)
                self._specs = {name: spec for name, spec in self._specs.items() if name != request.id}
                response.success = True
                response.message = f"removed '{request.id}'{self._change_done(request.id, None)}"
            elif not response.success:
                known = ", ".join(model.library.ids) or "none"
                response.message = f"object '{request.id}' is not known; known: {known}"
        if response.success:
            self._context.logger.info(response.message)
        return response

    def _list(self, request: ListObjects.Request, response: ListObjects.Response) -> ListObjects.Response:
        model = self._context.model()
        if model is not None:
            library, specs = model.library, self._specs
            response.version = library.version
            response.objects = [object_info(known, specs.get(known.id)) for known in library.objects]
        return response

    # what is reported

    @property
    def _cache_problem(self) -> str:
        text = self._context.events.text_since(NOT_WRITTEN, self._cache_problem_since_s)
        return f"{text}: free space, or set cache_dir; until then every start renders again" if text else ""

    def _report_warnings(self, known: KnownObject) -> None:
        """Log what is doubtful about an object's files once an onboarding; /diagnostics goes on showing it."""
        for warning in known.warnings:
            self._context.events.count_event(warning.reason)
            self._context.logger.warning(warning.text)

    def _report_failure(self, text: str, remedy: str) -> None:
        self._context.events.fail_object(f"{text}; {remedy}")
        self._context.logger.error(text)

    def _change_done(self, object_id: str, spec: ObjectSpec | None) -> str:
        """Publish and save one change of the library; return the end of a sentence about saving it."""
        self._context.events.clear_object_failure()
        self._publish_change()
        return self._file.save_change(object_id, spec)

    def _check_file(self) -> None:
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._context.model() is not None:
                self._file.check()
        finally:
            self._lock.release()
