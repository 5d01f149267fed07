"""From a decoded request to its answer: what to look for, the model, and the result as JSON has it."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ism_ros.checks.depth_checks import doubts_about_depth_scale
from ism_ros.data.detections import Detections, NearMiss
from ism_ros.data.frame import Camera, Frame
from ism_ros.io.result_files import to_records, write_results, xywh
from ism_ros.model import InstanceSegmentationModel, Query
from ism_ros.objects.library import KnownObject, ObjectLibrary
from ism_ros.segmentors import SEGMENTORS, Segmentor, create_segmentor
from ism_ros.server.errors import RequestError
from ism_ros.server.model_process.background_onboarding import ColdObjects, Tell
from ism_ros.server.model_process.messages import NotYet
from ism_ros.server.model_process.object_cache import SAMPLE_PREFIX, NamedObject, ObjectCache, sample_specs
from ism_ros.server.requests.images import decode_depth_m, decode_rgb
from ism_ros.visualization import draw_overlay

Given = TypeVar("Given")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Ask:
    """A request whose paths are inside the roots. rgb: PNG or JPEG; depth: 16-bit PNG, metres = number * depth_scale /
    1000, or None; intrinsics: 9 numbers row by row. max_pixels: of each image."""

    rgb: bytes
    depth: bytes | None
    intrinsics: tuple[float, ...]
    depth_scale: float = 1.0
    max_pixels: int = 16_000_000
    named: NamedObject | None = None
    object_ids: tuple[str, ...] | None = None
    segmentor: str | None = None
    stability_score_threshold: float | None = None
    score_threshold: float | None = None
    min_mask_pixels: int | None = None
    output_dir: Path | None = None
    visualization: bool = False

    def frame(self, beside: Executor) -> Frame:
        """Depth is decoded on a thread of `beside`. Raises RequestError."""
        depth = None
        if self.depth is not None:
            depth = beside.submit(decode_depth_m, self.depth, self.depth_scale, self.max_pixels)
        rgb = decode_rgb(self.rgb, self.max_pixels)
        depth_m = None if depth is None else depth.result()
        doubts = () if depth_m is None else doubts_about_depth_scale(depth_m, self.depth_scale, "cam_params")
        try:
            camera = Camera(np.reshape(self.intrinsics, (3, 3)), rgb.shape[1], rgb.shape[0])
            return Frame(rgb, depth_m, camera, warnings=doubts)
        except ValueError as error:
            raise RequestError(400, str(error)) from None


class Inference:
    """Several threads may ask: while the model is busy with the frames of one, those of another are decoded and its
    answers encoded.

    cache: of the objects that requests name by path. tell: told of those that are being onboarded.
    """

    def __init__(
        self, model: InstanceSegmentationModel, cache: ObjectCache, tell: Tell = lambda progress: None
    ) -> None:
        self.model = model
        self.cache = cache
        self._cold = ColdObjects(cache, model, tell)
        self._segmentors: dict[str, Segmentor] = {}
        self._turn = threading.Lock()
        self._beside = ThreadPoolExecutor(1, "ism_depth")

    def answer_all(self, asks: Sequence[Ask]) -> list[dict[str, Any] | Exception | NotYet]:
        """The fields of schemas.InferenceAnswer for each; the crops of all frames are described in one pass.

        What is wrong with one ask is no matter to the others: RequestError. One for objects that are not ready is
        NotYet, to be asked again; they are being onboarded meanwhile.
        """
        named = [_or_error(self._named, ask) for ask in asks]
        frames = [
            _or_error(lambda ask: ask.frame(self._beside), ask) if isinstance(objects, list) else objects
            for ask, objects in zip(asks, named, strict=True)
        ]
        with self._turn:
            queries = [
                _or_error(partial(self._query, ask, objects), frame)
                if isinstance(frame, Frame) and isinstance(objects, list)
                else frame
                for ask, objects, frame in zip(asks, named, frames, strict=True)
            ]
            left = iter(self._segment([query for query in queries if isinstance(query, Query)]))
        answers: list[dict[str, Any] | Exception | NotYet] = []
        for ask, query in zip(asks, queries, strict=True):
            result = next(left) if isinstance(query, Query) else query
            if isinstance(query, Query) and isinstance(result, Detections):
                answers.append(_or_error(partial(to_json, ask, query.frame.rgb), result))
            else:
                assert isinstance(result, (Exception, NotYet))
                answers.append(result)
        return answers

    def _segment(self, queries: Sequence[Query]) -> list[Detections | Exception]:
        """All in one pass, or each for itself where that fails."""
        try:
            return [one.to("cpu") for one in self.model.segment_all(queries)]
        except Exception:
            if len(queries) == 1:
                raise
            return [_or_error(lambda query: self.model.segment_all([query])[0].to("cpu"), query) for query in queries]

    def _query(self, ask: Ask, named: list[KnownObject], frame: Frame) -> Query:
        changes = {
            name: value
            for name in ("stability_score_threshold", "score_threshold", "min_mask_pixels")
            if (value := getattr(ask, name)) is not None
        }
        settings = self.model.settings.model_copy(update=changes)
        return Query(frame, self._library(ask, named), settings, self._segmentor(ask.segmentor))

    def preload(self, named: NamedObject) -> KnownObject:
        """Makes `named` ready before the first request asks for it. Raises what `onboard` raises."""
        return self.cache.get(named.spec(), self.model)

    def _named(self, ask: Ask) -> list[KnownObject] | NotYet:
        """Objects of the request that are not the server's own."""
        if ask.object_ids is not None:
            wanted = [name for name in ask.object_ids if name.startswith(SAMPLE_PREFIX)]
            samples = sample_specs() if wanted else {}
            specs = [samples[name] for name in _known(wanted, samples)]
        else:
            specs = [] if ask.named is None else [ask.named.spec()]
        return self._cold.get(specs) if specs else []

    def _library(self, ask: Ask, named: list[KnownObject]) -> ObjectLibrary:
        library = self.model.library
        if ask.object_ids is not None:
            own = [name for name in ask.object_ids if not name.startswith(SAMPLE_PREFIX)]
            known = [*library.subset(_known(own, library)).objects, *named]
            return ObjectLibrary(tuple(known))
        if ask.named is not None:
            return ObjectLibrary(tuple(named))
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
            settings = model.settings
            folder = settings.resolved_checkpoints_dir()
            self._segmentors[name] = create_segmentor(name, model.device, "", folder, settings.mask_options())
        return self._segmentors[name]


def _or_error(step: Callable[[Given], Result], given: Given) -> Result | Exception:
    """The result, or what the one who asked is told: RequestError, or the one line of a ValueError or OSError."""
    try:
        return step(given)
    except RequestError as error:
        return error
    except (ValueError, OSError) as error:
        return RequestError(400, str(error))


def _known(object_ids: list[str], there: Any) -> list[str]:
    """The ids as they are, each once. Raises RequestError 404 for one that is not `there`."""
    ids = there.ids if isinstance(there, ObjectLibrary) else tuple(there)
    for object_id in object_ids:
        if object_id not in ids:
            raise RequestError(404, f"object '{object_id}' is not known; known: {', '.join(ids) or 'none'}")
    return list(dict.fromkeys(object_ids))


def to_json(ask: Ask, rgb: NDArray[np.uint8], detections: Detections) -> dict[str, Any]:
    """The fields of schemas.InferenceAnswer, ready for json.dumps; writes the files that were asked for."""
    overlay = draw_overlay(rgb, detections) if ask.visualization or ask.output_dir else None
    if ask.output_dir is not None and overlay is not None:
        try:
            write_results(ask.output_dir, detections, overlay)
        except OSError as error:
            why = error.strerror or error
            raise RequestError(400, f"output_dir {ask.output_dir} cannot be written ({why}): choose another") from None
    named = ask.named
    records = to_records(detections)
    return {
        "success": True,
        "detections": [_detection(detections, row, record) for row, record in enumerate(records)],
        "num_detections": len(records),
        "near_miss": _near_miss(detections.near_miss),
        "warnings": [{"reason": warning.reason, "text": warning.text} for warning in detections.warnings],
        "scores": [record["score"] for record in records],
        "inference_time": sum(detections.stage_s.values()),
        "stage_times": detections.stage_s,
        "visualization": _png(overlay) if overlay is not None and ask.visualization else None,
        "template_dir_used": str(named.template_dir) if named is not None and named.template_dir is not None else None,
        "cad_path_used": str(named.cad_path) if named is not None and named.cad_path is not None else None,
        "output_dir_used": None if ask.output_dir is None else str(ask.output_dir),
        "error_message": None,
    }


def _near_miss(miss: NearMiss | None) -> dict[str, Any] | None:
    return None if miss is None else {"class_id": miss.class_id, "score": miss.score, "bbox": xywh(miss.box_xyxy)}


def _detection(detections: Detections, row: int, record: dict[str, Any]) -> dict[str, Any]:
    rotation, translation_m = detections.rotation[row], detections.translation_m[row]
    posed = bool(rotation.isfinite().all() and translation_m.isfinite().all())
    parts = ("semantic_score", "appearance_score", "geometric_score", "visible_ratio", "fit_score")
    return {
        "category_id": record["category_id"],
        "class_id": detections.class_id(row),
        "score": record["score"],
        **{part: float(getattr(detections, part)[row]) for part in parts},
        "bbox": record["bbox"],
        "segmentation": record["segmentation"],
        "template_index": int(detections.template_index[row]),
        "pose": {"rotation": rotation.flatten().tolist(), "translation_m": translation_m.tolist()} if posed else None,
    }


def _png(rgb: np.ndarray) -> str:
    _, encoded = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return base64.b64encode(encoded.tobytes()).decode("ascii")
