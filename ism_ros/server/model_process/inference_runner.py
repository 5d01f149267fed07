"""Batches of inference requests, run by a model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from ism_ros.config.profiles import changed_models
from ism_ros.data.detections import Detections
from ism_ros.data.frame import Frame
from ism_ros.model import InstanceSegmentationModel
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.library import ObjectLibrary
from ism_ros.query import Query
from ism_ros.segmentors.base import SEGMENTORS, Segmentor, create_segmentor
from ism_ros.server.errors import RequestError
from ism_ros.server.model_process.background_onboarding import BackgroundOnboarding, ProgressCallback
from ism_ros.server.model_process.messages import ObjectPending, ResponseFields
from ism_ros.server.model_process.object_cache import ObjectCache
from ism_ros.server.model_process.response_fields import make_response
from ism_ros.server.objects.sample_objects import SAMPLE_PREFIX, sample_specs
from ism_ros.server.requests.inference_input import InferenceInput
from ism_ros.server.requests.path_object import PathObject

Given = TypeVar("Given")
Result = TypeVar("Result")


class InferenceRunner:
    """Runs batches of requests; thread-safe.

    While the model works on the frames of one batch, another thread may decode those of the next one or encode the
    results of the last one.

    Attributes:
        model: The model.
        cache: Objects that requests name by path.
    """

    def __init__(
        self,
        model: InstanceSegmentationModel,
        cache: ObjectCache,
        on_progress: ProgressCallback = lambda progress: None,
    ) -> None:
        """Initialize.

        Args:
            model: The model.
            cache: Keeps objects that requests name by path.
            on_progress: Called when the progress of their onboarding changes.
        """
        self.model = model
        self.cache = cache
        self._onboarding = BackgroundOnboarding(cache, model, on_progress)
        self._segmentors: dict[str, Segmentor] = {}
        self._model_lock = threading.Lock()
        self._depth_decoder = ThreadPoolExecutor(1, "ism_depth")

    def run_batch(self, requests: Sequence[InferenceInput]) -> list[ResponseFields | Exception | ObjectPending]:
        """Run a batch; each frame is answered as it would be alone (on a GPU but for rounding).

        Args:
            requests: The requests.

        Returns:
            One for each: the response's fields; an exception, which does not concern the others; or `ObjectPending`
            where an object is being onboarded and the request is to be tried again.
        """
        objects = [_result_or_error(self._path_objects, request) for request in requests]
        frames = [
            _result_or_error(lambda request: request.frame(self._depth_decoder), request)
            if isinstance(known, list)
            else known
            for request, known in zip(requests, objects, strict=True)
        ]
        with self._model_lock:
            queries = [
                _result_or_error(partial(self._query, request, known), frame)
                if isinstance(frame, Frame) and isinstance(known, list)
                else frame
                for request, known, frame in zip(requests, objects, frames, strict=True)
            ]
            detections = iter(self._segment([query for query in queries if isinstance(query, Query)]))
        results: list[ResponseFields | Exception | ObjectPending] = []
        for request, query in zip(requests, queries, strict=True):
            result = next(detections) if isinstance(query, Query) else query
            if isinstance(query, Query) and isinstance(result, Detections):
                results.append(_result_or_error(partial(make_response, request, query.frame.rgb), result))
            else:
                assert isinstance(result, (Exception, ObjectPending))
                results.append(result)
        return results

    def preload(self, path_object: PathObject) -> KnownObject:
        """Onboard an object before the first request names it.

        Args:
            path_object: The object; raises what the model's `onboard` raises.

        Returns:
            The object.
        """
        return self.cache.get(path_object.spec(), self.model)

    def _segment(self, queries: Sequence[Query]) -> list[Detections | Exception]:
        """Segment all frames in one pass, or each by itself where that fails."""
        try:
            return [one.to("cpu") for one in self.model.segment_all(queries)]
        except Exception:
            if len(queries) == 1:
                raise
            return [
                _result_or_error(lambda query: self.model.segment_all([query])[0].to("cpu"), query) for query in queries
            ]

    def _query(self, request: InferenceInput, path_objects: list[KnownObject], frame: Frame) -> Query:
        changes = {
            name: value
            for name in ("stability_score_threshold", "score_threshold", "min_mask_pixels")
            if (value := getattr(request, name)) is not None
        }
        settings = self.model.settings.model_copy(update=changes)
        return Query(frame, self._library(request, path_objects), settings, self._segmentor(request.segmentor))

    def _path_objects(self, request: InferenceInput) -> list[KnownObject] | ObjectPending:
        """Return the objects of a request that are not in the model's library: named by path, or of the sample."""
        if request.object_ids is not None:
            wanted = [name for name in request.object_ids if name.startswith(SAMPLE_PREFIX)]
            samples = sample_specs() if wanted else {}
            specs = [samples[name] for name in _checked_ids(wanted, samples)]
        else:
            specs = [] if request.path_object is None else [request.path_object.spec()]
        return self._onboarding.get(specs) if specs else []

    def _library(self, request: InferenceInput, path_objects: list[KnownObject]) -> ObjectLibrary:
        library = self.model.library
        if request.object_ids is not None:
            own = [name for name in request.object_ids if not name.startswith(SAMPLE_PREFIX)]
            return ObjectLibrary((*library.subset(_checked_ids(own, library.ids)).objects, *path_objects))
        if request.path_object is not None:
            return ObjectLibrary(tuple(path_objects))
        if not len(library):
            raise RequestError(
                400,
                "nothing to look for: send template_dir or cad_path, add an object at /api/v1/objects, or start the "
                "server with ISM_OBJECTS_FILE",
            )
        return library

    def _segmentor(self, name: str | None) -> Segmentor | None:
        model = self.model
        if name is None or name == model.settings.segmentor:
            return None
        if name not in SEGMENTORS:
            raise RequestError(400, f"segmentor_model '{name}' is unknown; choose one of: {', '.join(SEGMENTORS)}")
        if name not in self._segmentors:
            model.claim_threads()
            folder = model.settings.resolved_checkpoints_dir()
            settings = {**model.settings.model_dump(), **changed_models(model.settings, {"segmentor": name})}
            self._segmentors[name] = create_segmentor(name, model.device, "", folder, settings)
        return self._segmentors[name]


def _result_or_error(step: Callable[[Given], Result], given: Given) -> Result | Exception:
    """Return the result of a step, or the RequestError for the client: also for a ValueError or OSError."""
    try:
        return step(given)
    except RequestError as error:
        return error
    except (ValueError, OSError) as error:
        return RequestError(400, str(error))


def _checked_ids(wanted: list[str], known: Iterable[str]) -> list[str]:
    """Return ids, each once; raise RequestError 404 for one that is not known."""
    known_ids = tuple(known)
    for object_id in wanted:
        if object_id not in known_ids:
            raise RequestError(404, f"object '{object_id}' is not known; known: {', '.join(known_ids) or 'none'}")
    return list(dict.fromkeys(wanted))
