"""The Instance Segmentation Model: from a frame to the instances of known objects in it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ism_ros.checks.input_warnings import InputWarning, without_repeats
from ism_ros.config.settings import Settings
from ism_ros.data.detections import Detections, Proposals
from ism_ros.data.frame import Frame
from ism_ros.data.masks import boxes_from_masks, crop_resize_pad, mask_nms, nms
from ism_ros.descriptors import SMALL_DESCRIPTORS, Descriptor, Descriptors, create_descriptor
from ism_ros.matching import noctis, shape, similarity, size_checks
from ism_ros.objects.grey import library_in_grey
from ism_ros.objects.library import KnownObject, ObjectLibrary
from ism_ros.objects.onboarding import onboard
from ism_ros.objects.spec import ObjectSpec, read_objects_file
from ism_ros.objects.stores.patch_tokens import PatchStorage
from ism_ros.objects.template_builder import Prepare, prepare
from ism_ros.pose.coarse_pose import at_origin, coarse_poses, unknown_covariance
from ism_ros.pose.polar_maps import Fit, Seen, ViewFits, fit_views, joined, look_under
from ism_ros.runtime.batches import Recoveries
from ism_ros.runtime.cache_folder import remove_stale
from ism_ros.runtime.threads import one_thread, use_threads
from ism_ros.segmentors import SMALL_SEGMENTORS, Segmentor, create_segmentor
from ism_ros.segmentors.small_proposals import LeftOut, too_small_warning, without_small

Result = TypeVar("Result")

OUTLINE_CORNERS = 200
"""Of a round object's many corners about so many are enough to know its outline."""

FITS_AT_ONCE = 256
"""So many proposals at once are held against the views of an object, which takes some 100 MB."""

GREY_IMAGE = InputWarning(
    "grey_image",
    "the rgb image has no colours (all its channels are equal), so that objects are compared in grey and those that "
    "differ in colour alone are mixed up: use the colour image of the camera, not a mono8 one, if it has any",
)

FitOf = Callable[[int, Tensor], Fit]
"""How the views of the object with this index fit under these rows (K,) int64 of some masks."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Query:
    """One frame, and what to look for in it by which thresholds. segmentor: None = the model's. with_unit_check: where
    nothing is found, whether something would be if depth or CAD models were in another unit, which takes as long again.
    """

    frame: Frame
    library: ObjectLibrary
    settings: Settings
    segmentor: Segmentor | None = None
    with_poses: bool = True
    with_unit_check: bool = True


@dataclass(frozen=True)
class Cut:
    """Proposals of one frame, crops (N, 3, S, S) float32 0..1 and crop_masks (N, S, S) of them, seconds of stages.

    left_out: the proposals that were too small.
    """

    proposals: Proposals
    left_out: LeftOut
    crops: Tensor
    crop_masks: Tensor
    seconds: dict[str, float]


class InstanceSegmentationModel:
    """Finds instances of the objects in `library`.

    `library` and `settings` may be replaced at any moment, from any thread: a frame is segmented with those that
    were there when it began. `recoveries` counts how often memory ran out and the work went on in smaller pieces; give
    the segmentor and the descriptor the same one.
    """

    def __init__(
        self,
        segmentor: Segmentor,
        descriptor: Descriptor,
        library: ObjectLibrary,
        settings: Settings,
        device: str = "cpu",
        recoveries: Recoveries | None = None,
        prepare: Prepare = prepare,
    ) -> None:
        self.recoveries = recoveries or Recoveries()
        self.segmentor = segmentor
        self.descriptor = descriptor
        self.library = library
        self.settings = settings
        self.device = device
        self._prepare = prepare
        self._threads = torch.get_num_threads()

    @torch.inference_mode()
    def segment(
        self,
        frame: Frame,
        object_ids: Sequence[str] | None = None,
        settings: Settings | None = None,
        with_poses: bool = True,
        with_unit_check: bool = True,
    ) -> Detections:
        """Instances in `frame`, best first, with the seconds that each stage took.

        object_ids: look only for these (KeyError where one is not known); None = all. settings: thresholds and scoring
        of this frame; None = the model's. with_poses: False saves some milliseconds a detection where only masks
        count; poses are then those of the geometric score. with_unit_check: as of `Query`. Nothing found, or no object
        to look for, is an empty result.
        """
        library = self.library if object_ids is None else self.library.subset(object_ids)
        query = Query(frame, library, settings or self.settings, None, with_poses, with_unit_check)
        return self.segment_all([query])[0]

    @torch.inference_mode()
    def segment_all(self, queries: Sequence[Query]) -> list[Detections]:
        """The same for several frames, each with its own library and settings; all crops are described in one pass.

        The seconds of that pass are shared out by the number of crops. PyTorch uses as many threads as when the model
        was made. Where frames are worked on side by side, their seconds overlap.
        """
        if not queries:
            return []
        self.claim_threads()
        queries = [
            replace(query, library=library_in_grey(query.library)) if query.frame.is_grey else query
            for query in queries
        ]
        cuts = self._each(self._cut, queries)
        clock = StageClock(self.device)
        described = self._describe(cuts)
        clock.lap("descriptors")
        crop_count = sum(len(cut.proposals) for cut in cuts)
        for cut in cuts:
            share = len(cut.proposals) / crop_count if crop_count else 1 / len(cuts)
            cut.seconds["descriptors"] += share * clock.seconds["descriptors"]
        return self._each(self._detect, queries, cuts, described)

    def claim_threads(self) -> None:
        """Gives the thread that asks as many threads of PyTorch as it had when the model was made."""
        use_threads(self._threads)

    def _each(self, work: Callable[..., Result], queries: Sequence[Query], *others: Sequence[Any]) -> list[Result]:
        """What `work` gives for each query and what belongs to it; side by side, each on one thread, where small models
        on a CPU have no more threads than there are queries."""
        segmentors = {(query.segmentor or self.segmentor).name for query in queries}
        small = segmentors <= SMALL_SEGMENTORS and self.descriptor.name in SMALL_DESCRIPTORS
        if not (small and self.device == "cpu" and 1 < self._threads <= len(queries)):
            return [work(*one) for one in zip(queries, *others, strict=True)]

        @torch.inference_mode()
        def alone(*one: Any) -> Result:
            use_threads(1)
            return work(*one)

        try:
            with ThreadPoolExecutor(self._threads, "ism_frame") as pool:
                return list(pool.map(alone, queries, *others))
        finally:
            self.claim_threads()

    def _cut(self, query: Query) -> Cut:
        """Proposals of a frame, and their crops."""
        clock = StageClock(self.device)
        frame, segmentor = query.frame, query.segmentor or self.segmentor
        proposals = (
            segmentor.propose(frame, query.settings.stability_score_threshold)
            if len(query.library)
            else Proposals.empty(frame.height, frame.width, self.device)
        )
        proposals, left_out = without_small(proposals, query.settings.min_mask_pixels)
        clock.lap("proposals")
        crops, crop_masks = self._crops(frame, proposals)
        clock.lap("descriptors")
        return Cut(proposals, left_out, crops, crop_masks, clock.seconds)

    def _describe(self, cuts: Sequence[Cut]) -> list[Descriptors]:
        """Descriptors of the crops of each frame."""
        if len(cuts) == 1:
            return [self.descriptor.describe(cuts[0].crops, cuts[0].crop_masks)]
        described = self.descriptor.describe(
            torch.cat([cut.crops for cut in cuts]), torch.cat([cut.crop_masks for cut in cuts])
        )
        counts = [len(cut.proposals) for cut in cuts]
        return [
            Descriptors(class_tokens, patch_tokens)
            for class_tokens, patch_tokens in zip(
                described.class_tokens.split(counts), described.patch_tokens.split(counts), strict=True
            )
        ]

    def _detect(self, query: Query, cut: Cut, described: Descriptors) -> Detections:
        """Of all proposals those that are instances, with scores and poses."""
        frame, library, settings = query.frame, query.library, query.settings
        clock = StageClock(self.device)
        detections, fit_of, rows = self._score(frame, cut.proposals, cut.crop_masks, described, library, settings)
        clock.lap("scores")

        kept = nms(detections.boxes_xyxy, detections.score, settings.nms_threshold, detections.object_index)
        kept = kept[detections.score[kept] >= settings.score_threshold]
        if settings.overlap_threshold < 1.0:
            kept = mask_nms(detections.masks, kept, settings.overlap_threshold)
        kept = kept[: settings.max_detections]
        result = detections[kept]
        if not len(result):
            result = replace(result, near_miss=detections.as_near_miss())
        clock.lap("selection")
        if query.with_poses:
            of_kept = None if fit_of is None else lambda index, rows: fit_of(index, kept[rows])
            result = with_coarse_poses(result, frame, library, self.descriptor.view_weight, of_kept)
            clock.lap("pose")
        result.stage_s.update(cut.seconds, **clock.seconds)
        warnings = [*frame.warnings, *([GREY_IMAGE] if frame.is_grey else [])]
        warnings += [warning for known in library.objects for warning in known.warnings]
        warnings += self._size_doubts(query, cut, described, detections, rows, result)
        if not len(result):
            diameters_m = [known.diameter_m for known in library.objects]
            too_small = too_small_warning(cut.left_out, frame, diameters_m, settings.min_mask_pixels)
            warnings += [] if too_small is None else [too_small]
        return replace(result, warnings=without_repeats(tuple(warnings)))

    def _size_doubts(
        self, query: Query, cut: Cut, described: Descriptors, scored: Detections, rows: Tensor, result: Detections
    ) -> tuple[InputWarning, ...]:
        """Whether depth or objects seem to be in other units. scored: what was looked at, rows: among the proposals."""
        frame, library, settings = query.frame, query.library, query.settings
        if not frame.has_depth or any(warning.reason == "depth_unit" for warning in frame.warnings):
            return ()
        found = set(result.object_index.tolist())
        missing = [known for index, known in enumerate(library.objects) if index not in found]
        if doubts := size_checks.doubts_about_objects(frame, missing):
            return doubts
        if len(result):
            return size_checks.doubt_about_found(
                size_checks.sizes_in_diameters(result.masks, result.boxes_xyxy, result.object_index, frame, library)
            )
        if not query.with_unit_check:
            return ()
        likely = scored.semantic_score.topk(min(size_checks.MOST_LOOKED_AT, len(scored))).indices
        in_diameters = size_checks.sizes_in_diameters(
            scored.masks[likely], scored.boxes_xyxy[likely], scored.object_index[likely], frame, library
        )
        some = Descriptors(described.class_tokens[rows[likely]], described.patch_tokens[rows[likely]])
        proposals, crop_masks = cut.proposals[rows[likely]], cut.crop_masks[rows[likely]]
        for factor in size_checks.factors_to_try(in_diameters):
            assert frame.depth_m is not None
            other = replace(frame, depth_m=frame.depth_m * np.float32(factor))
            again, _, _ = self._score(other, proposals, crop_masks, some, library, settings)
            if not _any_above(again, settings.score_threshold) and size_checks.nothing_fits(in_diameters):
                # masks that were found in depth of another unit may be bad ones
                anew = self._cut(replace(query, frame=other))
                anew_described = self._describe([anew])[0]
                again, _, _ = self._score(other, anew.proposals, anew.crop_masks, anew_described, library, settings)
            if _any_above(again, settings.score_threshold):
                best = int(again.score.argmax())
                known, score = library.objects[int(again.object_index[best])], float(again.score[best])
                if known.diameter_m is not None:
                    return (size_checks.doubt_about_scale(known.id, score, factor, known.diameter_m),)
        return ()

    def add(self, spec: ObjectSpec, progress: Callable[[int, int], None] | None = None) -> None:
        """Onboard one object and find it from the next frame on. Raises what `onboard` raises."""
        self.put(self.onboard(spec, progress))

    def put(self, known: KnownObject) -> None:
        """Find `known` from the next frame on, in the place of the one that has its id. Not for two threads at once."""
        library = self.library.with_object(known)
        library.prepare()
        self.library = library

    def onboard(self, spec: ObjectSpec, progress: Callable[[int, int], None] | None = None) -> KnownObject:
        """The object that `spec` describes, for `put`. progress: told (views rendered, views)."""
        self.claim_threads()
        held = self.library.patch_bytes()
        storage = PatchStorage(
            self.settings.patch_tokens,
            self.settings.patch_precision,
            held_on_device=held.get(str(torch.device(self.device)), 0),
            held_on_host=held.get("cpu", 0),
        )
        cache_dir = self.settings.resolved_cache_dir()
        return onboard(spec, self.descriptor, cache_dir, self.device, progress, storage, self._prepare)

    def _crops(self, frame: Frame, proposals: Proposals) -> tuple[Tensor, Tensor]:
        image = torch.from_numpy(frame.rgb).to(self.device).permute(2, 0, 1).float() / 255.0
        return crop_resize_pad(image, proposals.masks, proposals.boxes_xyxy, self.descriptor.crop_size)

    def _score(
        self,
        frame: Frame,
        proposals: Proposals,
        crop_masks: Tensor,
        described: Descriptors,
        library: ObjectLibrary,
        settings: Settings,
    ) -> tuple[Detections, FitOf | None, Tensor]:
        """All proposals that may be instances, how the views of the objects fit them, where that was looked at, and
        which of the proposals they are, (K,) int64."""
        if not len(proposals) or not len(library):
            nothing = torch.zeros(0, dtype=torch.int64, device=self.device)
            return Detections.empty(frame.height, frame.width, self.device), None, nothing
        pairwise = similarity.pairwise_similarity(described.class_tokens, library.class_tokens, unit_rows=True)
        method = settings.resolved_scoring()
        compared = (pairwise, described.patch_tokens, library, settings.confidence_threshold)
        if method == "noctis":
            found = match_noctis(*compared, self.recoveries)
        elif method == "metric" and frame.has_depth:
            boxes = proposals.boxes_xyxy if proposals.boxes_are_tight else boxes_from_masks(proposals.masks)
            seen = look_under(proposals.masks, boxes, frame)
            found = match_metric(*compared, seen, self.descriptor.view_weight)
        else:
            found = match_sam6d(*compared)
        proposals = proposals[found.rows]
        with one_thread(crop_masks):
            geometric, visible_ratio, rotation, translation_m = self._geometry(
                frame, proposals, crop_masks[found.rows], library, found.object_index, found.template_index,
                found.visible_ratio,
            )  # fmt: skip
        if method == "noctis":
            score = noctis.final_score(found.semantic, found.appearance, proposals.confidence)
        elif found.fit is not None:
            score = shape.final_score(
                found.semantic, found.appearance, geometric, visible_ratio, found.fit, found.fit > 0
            )
        else:
            score = similarity.final_score(found.semantic, found.appearance, geometric, visible_ratio)
        numbers, fits = torch.nonzero(found.rows)[:, 0], found.fits
        detections = Detections(
            masks=proposals.masks,
            boxes_xyxy=proposals.boxes_xyxy,
            object_index=found.object_index,
            template_index=found.template_index if found.view is None else found.view,
            score=score,
            semantic_score=found.semantic,
            appearance_score=found.appearance,
            geometric_score=geometric,
            visible_ratio=visible_ratio,
            rotation=rotation,
            translation_m=translation_m,
            object_ids=library.ids,
            category_ids=library.category_ids,
            view_similarity=pairwise[numbers, found.object_index],
            fit_score=torch.zeros_like(score) if found.fit is None else found.fit,
        )
        fit_of = None if fits is None else lambda index, rows: fits.under(numbers[rows], index)
        return detections, fit_of, numbers

    def _geometry(
        self,
        frame: Frame,
        proposals: Proposals,
        crop_masks: Tensor,
        library: ObjectLibrary,
        object_index: Tensor,
        template_index: Tensor,
        visible_ratio: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Geometric score, visible ratio, rotation, translation; scores 0 and pose NaN where there is no geometry."""
        rotation = library.rotations_of(object_index, template_index)
        translation_m = rotation.new_full((len(proposals), 3), float("nan"))
        geometric = torch.zeros_like(visible_ratio)
        if frame.depth_m is not None and frame.has_depth:
            intrinsics = torch.from_numpy(frame.camera.intrinsics).to(self.device, torch.float32)
            depth_m = torch.from_numpy(frame.depth_m).to(self.device)
            boxes = proposals.boxes_xyxy if proposals.boxes_are_tight else None
            translation_m, _ = similarity.mean_position_m(proposals.masks, depth_m, intrinsics, boxes)
        posed = torch.isfinite(rotation).all(dim=(1, 2)) & torch.isfinite(translation_m).all(dim=1)
        outlines = None if self.descriptor.turns_with_camera or not posed.any() else similarity.outlines(crop_masks)
        for index in object_index[posed].unique().tolist():
            known = library.objects[index]
            rows = torch.nonzero(posed & (object_index == index))[:, 0]
            if known.corners_m is None:
                posed[rows] = False
                continue
            if outlines is not None:
                some_m = known.corners_m[:: 1 + len(known.corners_m) // OUTLINE_CORNERS]
                rotation[rows] = similarity.turn_in_plane(
                    rotation[rows], outlines[rows], some_m, translation_m[rows], intrinsics
                )
            projected = similarity.projected_boxes(
                known.corners_m, rotation[rows], translation_m[rows], intrinsics, (frame.height, frame.width)
            )
            geometric[rows] = similarity.geometric_score(projected, proposals.boxes_xyxy[rows])
            # so far that of the object's centre, which lies where its surface is seen wherever its origin may be
            translation_m[rows] -= (rotation[rows].double() @ known.centre_m.to(self.device)).float()
        return geometric, visible_ratio * posed, rotation, translation_m


def _any_above(detections: Detections, score_threshold: float) -> bool:
    return bool((detections.score >= score_threshold).any())


@torch.inference_mode()
def with_coarse_poses(
    detections: Detections,
    frame: Frame,
    library: ObjectLibrary,
    view_weight: float = 0.0,
    fit_of: FitOf | None = None,
) -> Detections:
    """`detections` with the poses of their objects' views that fit best, covariances, and boxes of the models.

    Those whose object has no views, or that have too little depth, keep the pose that they were scored with. What has
    no pose at all has NaN everywhere. view_weight: the descriptor's, how much its class tokens say in it. fit_of: where
    the fits of these are known already.
    """
    count, device = len(detections), detections.rotation.device
    covariance = torch.full((count, 6, 6), float("nan"))
    box_m = torch.full((count, 2, 3), float("nan"))
    rotation, translation_m = detections.rotation.cpu().clone(), detections.translation_m.cpu().clone()
    template_index = detections.template_index.cpu().clone()
    posed = torch.isfinite(rotation).flatten(1).all(dim=1) & torch.isfinite(translation_m).all(dim=1)
    covariance[posed] = torch.from_numpy(unknown_covariance()).float()
    object_index = detections.object_index.cpu()
    if fit_of is None and frame.has_depth and posed.any():
        fit_of = _fits_under(detections.masks, frame, library)
    for index in object_index[posed].unique().tolist():
        known = library.objects[index]
        rows = torch.nonzero(posed & (object_index == index))[:, 0]
        if known.box_m is not None:
            box_m[rows] = known.box_m.float()
        if known.centre_m.any():
            arms_m = (rotation[rows].double() @ known.centre_m).numpy()
            about_centre = unknown_covariance()
            covariance[rows] = torch.from_numpy(np.stack([at_origin(about_centre, arm) for arm in arms_m])).float()
        if known.views is None or fit_of is None:
            continue
        here = rows.to(device)
        fit = fit_of(index, here)
        if view_weight and detections.view_similarity is not None:
            fit = fit.preferring(view_weight * known.views.from_templates(detections.view_similarity[here]))
        for row, pose in zip(rows.tolist(), coarse_poses(fit, known.views), strict=True):
            if pose is not None:
                rotation[row] = torch.from_numpy(pose.rotation)
                translation_m[row] = torch.from_numpy(pose.translation_m)
                template_index[row] = int(known.views.template[pose.view])
                covariance[row] = torch.from_numpy(pose.covariance)
    return replace(
        detections,
        rotation=rotation.to(device),
        translation_m=translation_m.to(device),
        template_index=template_index.to(device),
        pose_covariance=covariance.to(device),
        model_box_m=box_m.to(device),
    )


def _fits_under(masks: Tensor, frame: Frame, library: ObjectLibrary) -> FitOf:
    """Fits of the views of `library`'s objects, made when they are asked for."""
    seen = look_under(masks, boxes_from_masks(masks), frame)

    def fit_of(index: int, rows: Tensor) -> Fit:
        views = library.objects[index].views
        assert views is not None
        with one_thread(rows):
            return fit_views(seen[rows], views)

    return fit_of


def match_sam6d(
    pairwise: Tensor, patch_tokens: Tensor, library: ObjectLibrary, confidence_threshold: float
) -> similarity.Matches:
    """The object by class tokens alone; patch tokens beside its best template.

    pairwise: (N, O, T), of `library`'s class tokens. patch_tokens: (N, P, C).
    """
    semantic, object_index, template_index = similarity.semantic_score(pairwise)
    rows = semantic > confidence_threshold
    object_index, template_index = object_index[rows], template_index[rows]
    appearance, visible_ratio = similarity.patch_scores_by_template(
        patch_tokens, torch.nonzero(rows)[:, 0], library.chosen_patch_tokens(object_index, template_index)
    )
    return similarity.Matches(rows, object_index, template_index, semantic[rows], appearance, visible_ratio)


def match_metric(
    pairwise: Tensor,
    patch_tokens: Tensor,
    library: ObjectLibrary,
    confidence_threshold: float,
    seen: Seen,
    view_weight: float = 0.0,
) -> similarity.Matches:
    """The object by class tokens and by how well its views fit the depth; patch tokens beside its best template.

    pairwise: (N, O, T), of `library`'s class tokens. patch_tokens: (N, P, C). seen: under the N proposals. view_weight:
    the descriptor's, how much its class tokens say in the choice of the view.
    """
    semantic = similarity.semantic_scores(pairwise)
    candidates = shape.candidates(semantic, confidence_threshold)
    template_index = pairwise.argmax(dim=2)
    fit, proportion, view = torch.zeros_like(semantic), torch.zeros_like(semantic), template_index.clone()
    fits: dict[int, tuple[Tensor, Fit]] = {}
    with one_thread(semantic):
        for index in torch.nonzero(candidates.any(dim=0))[:, 0].tolist():
            known = library.objects[index]
            if known.views is None:
                continue
            rows = torch.nonzero(candidates[:, index])[:, 0]
            own = joined([fit_views(seen[some], known.views) for some in rows.split(FITS_AT_ONCE)])
            cost, relief_m, best = own.best(view_weight * known.views.from_templates(pairwise[rows, index]))
            fit[rows, index] = shape.fit_score(cost)
            proportion[rows, index] = shape.proportion_score(cost, relief_m, known.views.reach_m)
            template = torch.from_numpy(known.views.template).to(best.device)[best]
            view[rows, index] = template.where(cost.isfinite(), view[rows, index])
            fits[index] = rows, own
    chosen = shape.chosen_object(semantic, proportion, candidates)
    rows = candidates.any(dim=1)
    semantic, fit, view, template_index = (
        of_object.gather(1, chosen[:, None])[rows, 0] for of_object in (semantic, fit, view, template_index)
    )
    object_index = chosen[rows]
    appearance, visible_ratio = similarity.patch_scores_by_template(
        patch_tokens, torch.nonzero(rows)[:, 0], library.chosen_patch_tokens(object_index, template_index)
    )
    return similarity.Matches(
        rows, object_index, template_index, semantic, appearance, visible_ratio, fit, view, ViewFits(fits)
    )


def match_noctis(
    pairwise: Tensor,
    patch_tokens: Tensor,
    library: ObjectLibrary,
    confidence_threshold: float,
    recoveries: Recoveries | None = None,
) -> similarity.Matches:
    """The object by class and patch tokens, of all that are similar enough; the template by patch tokens.

    pairwise: (N, O, T), of `library`'s class tokens. patch_tokens: (N, P, C).
    """
    semantic = noctis.semantic_scores(pairwise)
    candidates = semantic > confidence_threshold
    counts = [known.template_count for known in library.objects]
    appearance, template_index = noctis.candidate_appearance(
        patch_tokens, candidates, counts, library.patch_tokens_of, recoveries=recoveries
    )
    score = noctis.match_score(semantic, appearance).where(candidates, -1.0)
    rows = candidates.any(dim=1)
    best = score[rows].argmax(dim=1, keepdim=True)
    object_index = best[:, 0]
    template_index, semantic, appearance = (
        of_object[rows].gather(1, best)[:, 0] for of_object in (template_index, semantic, appearance)
    )
    _, visible_ratio = similarity.patch_scores_by_template(
        patch_tokens, torch.nonzero(rows)[:, 0], library.chosen_patch_tokens(object_index, template_index)
    )
    return similarity.Matches(rows, object_index, template_index, semantic, appearance, visible_ratio)


class StageClock:
    """Seconds between laps; waits for a GPU to finish before it reads the clock."""

    def __init__(self, device: str) -> None:
        self.seconds: dict[str, float] = {}
        self._device = torch.device(device)
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Book the time since the last lap under `stage`."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.seconds[stage] = now - self._since
        self._since = now


def load_model(
    settings: Settings,
    progress: Callable[[str], None] | None = None,
    specs: Sequence[ObjectSpec] | None = None,
    prepare: Prepare = prepare,
    template_progress: Callable[[str, int, int], None] | None = None,
) -> InstanceSegmentationModel:
    """The model that `settings` describe, with every object of its objects file onboarded, or those of `specs`.

    Sets how many threads PyTorch uses to settings.cpu_threads; frames have as many, whichever thread asks.

    progress: told in words what is being done. prepare: renders, here or in another process. template_progress: told
    the step, rendered templates and all templates, instead of `progress` in words. Raises ValueError
    (SettingsError, ObjectsFileError, CadError, TemplateError) with one line that a user can act on.
    """
    tell = progress or (lambda text: None)
    device = settings.resolved_device()
    use_threads(settings.resolved_cpu_threads())
    checkpoints_dir = settings.resolved_checkpoints_dir()
    if specs is None:
        specs = read_objects_file(Path(settings.objects_file)) if settings.objects_file else ()
    remove_stale(settings.resolved_cache_dir())
    tell(f"loading segmentor '{settings.segmentor}' and descriptor '{settings.descriptor}' on {device}")
    recoveries = Recoveries()
    model = InstanceSegmentationModel(
        create_segmentor(
            settings.segmentor, device, settings.segmentor_model, checkpoints_dir, settings.mask_options(), recoveries
        ),
        create_descriptor(
            settings.descriptor,
            device,
            settings.descriptor_model,
            checkpoints_dir,
            settings.template_normalization,
            recoveries,
        ),
        ObjectLibrary(),
        settings,
        device,
        recoveries,
        prepare,
    )
    for number, spec in enumerate(specs, start=1):
        label = f"object {number} of {len(specs)}: {spec.id}"
        tell(label)
        known = model.onboard(spec, partial(template_progress or partial(_tell_templates, tell), label))
        model.library = model.library.with_object(known)
    model.library.prepare()
    places = ", ".join(f"{size / 1e6:.0f} MB on {place}" for place, size in model.library.patch_bytes().items())
    logger.info("patch tokens of %d objects: %s", len(model.library), places or "none")
    return model


def _tell_templates(tell: Callable[[str], None], label: str, done: int, total: int) -> None:
    tell(f"{label}, template {done} of {total}")
