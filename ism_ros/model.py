"""The Instance Segmentation Model: propose → describe → match → verify → select → search → pose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch

from ism_ros.config.settings import Settings
from ism_ros.data.detections import Detections, RejectedDetection
from ism_ros.data.frame import Frame
from ism_ros.data.proposals import Proposals
from ism_ros.descriptors.base import Descriptor, Descriptors
from ism_ros.matching.base import MATCHERS, MatchInputs
from ism_ros.matching.scores.geometry import verify_geometry
from ism_ros.matching.scores.similarity import library_similarity
from ism_ros.matching.selection import ScoredProposals, matched_proposals, scored_proposals, select
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.library import ObjectLibrary
from ism_ros.objects.onboarding import onboard
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_builder import TemplateBuilder, build_templates
from ism_ros.pose.estimation import with_coarse_poses
from ism_ros.query import ProposalCrops, Query, StageClock, crop_proposals, describe_crops, distribute_seconds
from ism_ros.result_checks.result_warnings import result_warnings
from ism_ros.runtime.out_of_memory import OutOfMemoryCounter
from ism_ros.runtime.threads import map_on_threads, one_thread, set_num_threads
from ism_ros.segmentors.base import Segmentor
from ism_ros.segmentors.small_proposals import split_small
from ism_ros.segmentors.tiled import with_tiles_for_objects
from ism_ros.shape_search.search import with_searched_places

Result = TypeVar("Result")


@dataclass(eq=False)
class InstanceSegmentationModel:
    """Finds instances of the objects in `library`.

    `library` and `settings` may be replaced at any moment, from any thread; a frame keeps those that it began with.

    Attributes:
        segmentor: Finds class-agnostic proposals.
        descriptor: Describes crops and templates.
        library: The known objects.
        settings: Thresholds and matcher of queries that have none of their own.
        device: PyTorch device of all of it.
        recoveries: Counts where memory ran out and the work went on in smaller batches; the models' own.
        template_builder: Renders templates, in this process or another.
        threads: Threads of PyTorch on the CPU: as many as when the model was made.
    """

    segmentor: Segmentor
    descriptor: Descriptor
    library: ObjectLibrary
    settings: Settings
    device: str = "cpu"
    recoveries: OutOfMemoryCounter = field(default_factory=OutOfMemoryCounter)
    template_builder: TemplateBuilder = build_templates
    threads: int = field(default_factory=torch.get_num_threads)

    @torch.inference_mode()
    def segment(
        self,
        frame: Frame,
        object_ids: Sequence[str] | None = None,
        settings: Settings | None = None,
        with_poses: bool = True,
        with_unit_check: bool = True,
    ) -> Detections:
        """Find the instances in a frame.

        Args:
            frame: The frame.
            object_ids: Look only for these; None = all.
            settings: Thresholds and matcher of this frame; None = the model's.
            with_poses: Also estimate poses; False saves some milliseconds a detection.
            with_unit_check: Where nothing is found, try depth and CAD models in other units: up to three passes more.

        Returns:
            Instances, best first, with the seconds that each stage took; empty where nothing is found.

        Raises:
            KeyError: One of `object_ids` is not known.
        """
        library = self.library if object_ids is None else self.library.subset(object_ids)
        settings = settings or self.settings
        return self.segment_all([Query(frame, library, settings, None, with_poses, with_unit_check)])[0]

    @torch.inference_mode()
    def segment_all(self, queries: Sequence[Query]) -> list[Detections]:
        """Find the instances in several frames with objects of their own, as in each alone; GPUs round differently."""
        if not queries:
            return []
        self.claim_threads()
        queries = [query.in_colors_of_frame().with_registered_depth() for query in queries]
        crops = self._map(self.propose, queries)
        # on a CPU one pass over all takes as long, and rounds in another way beside other frames
        described = self._map(self._describe_one, queries, crops) if self.device == "cpu" else self.describe(crops)
        return self._map(self._detect, queries, crops, described)

    def propose(self, query: Query) -> ProposalCrops:
        """Find everything that could be an object, and crop it."""
        clock, frame = StageClock(self.device), query.frame
        proposals = Proposals.empty(frame.height, frame.width, self.device)
        if len(query.library):
            segmentor = with_tiles_for_objects(query.segmentor or self.segmentor, query.library.diameters_m)
            proposals = segmentor.propose(frame, query.settings.stability_score_threshold)
        proposals, too_small = split_small(proposals, query.settings.min_mask_pixels)
        clock.lap("proposals")
        crops = crop_proposals(query, proposals, too_small, self.descriptor, clock.stage_s)
        clock.lap("descriptors")
        return crops

    def describe(self, crops: Sequence[ProposalCrops]) -> list[Descriptors]:
        """Describe the crops of all frames in one pass."""
        clock = StageClock(self.device)
        described = describe_crops(self.descriptor, crops)
        clock.lap("descriptors")
        distribute_seconds(crops, "descriptors", clock.stage_s["descriptors"])
        return described

    def _describe_one(self, query: Query, crops: ProposalCrops) -> Descriptors:
        return self.describe([crops])[0]

    def _detect(self, query: Query, crops: ProposalCrops, descriptors: Descriptors) -> Detections:
        """Match and verify the proposals, select the instances among them, and pose those."""
        clock = StageClock(self.device)
        scored = self.score(query, crops, descriptors)
        clock.lap("scores")
        kept = select(scored.detections, query.settings)
        clock.lap("selection")
        scored, kept = with_searched_places(self, query, crops, scored, kept)
        result = scored.detections[kept]
        if not len(result):
            result = replace(result, best_rejected=RejectedDetection.best_of(scored.detections))
        clock.lap("search")
        if query.with_poses:
            scene = query.frame, query.library, self.descriptor.view_prior_weight
            result = with_coarse_poses(result, *scene, scored.alignments, scored.rows[kept])
            clock.lap("pose")
        warnings = result_warnings(self, query, crops, descriptors, scored, result)
        return replace(result, stage_s={**crops.stage_s, **clock.stage_s}, warnings=warnings)

    def score(self, query: Query, crops: ProposalCrops, descriptors: Descriptors) -> ScoredProposals:
        """Match proposals with objects, verify the matches by geometry, and combine the scores."""
        frame, library, proposals = query.frame, query.library, crops.proposals
        if not len(proposals) or not len(library):
            return ScoredProposals.empty(frame.height, frame.width, self.device)
        similarity = library_similarity(descriptors, library)
        matcher = MATCHERS.get(query.settings.resolved_scoring()).matcher
        threshold, prior_weight = query.settings.confidence_threshold, self.descriptor.view_prior_weight
        given = frame, proposals, descriptors, library, similarity, threshold, prior_weight, self.recoveries
        matches = matcher.match(MatchInputs(*given, query.is_sought))
        matched, crop_masks = matched_proposals(proposals, matches), crops.crop_masks[matches.rows]
        with one_thread(crop_masks):
            geometry = verify_geometry(frame, matched, crop_masks, library, matches, self.descriptor.rotation_sensitive)
        score = matcher.final_score(matches, geometry.score, geometry.visible_ratio, matched.confidence)
        return scored_proposals(matched, library, matches, geometry, score, similarity)

    def claim_threads(self) -> None:
        """Give the calling thread as many threads of PyTorch as it had when the model was made."""
        set_num_threads(self.threads)

    def _map(self, work: Callable[..., Result], queries: Sequence[Query], *others: Sequence[Any]) -> list[Result]:
        """Apply `work` to each query and what belongs to it; small models take one thread each for many frames."""
        is_small = self.descriptor.is_small and all((one.segmentor or self.segmentor).is_small for one in queries)
        parallel = is_small and self.device == "cpu" and 1 < self.threads <= len(queries)
        return map_on_threads(work, self.threads if parallel else 1, queries, *others)

    def add(self, spec: ObjectSpec, progress: Callable[[int, int], None] | None = None) -> None:
        """Onboard one object and find it from the next frame on. Raises what `onboard` raises."""
        self.put(self.onboard(spec, progress))

    def put(self, known: KnownObject) -> None:
        """Find `known` from the next frame on, instead of the object that has its id. Not for two threads at once."""
        library = self.library.with_object(known)
        library.build_index()
        self.library = library

    def onboard(self, spec: ObjectSpec, progress: Callable[[int, int], None] | None = None) -> KnownObject:
        """Make an object known, for `put`.

        Args:
            spec: The object.
            progress: Called with the number of rendered views and of all views.

        Returns:
            The object, on the model's device.

        Raises:
            ValueError: As `objects.onboarding.onboard`, one line that a user can act on.
        """
        self.claim_threads()
        settings, cache_dir = self.settings, self.settings.resolved_cache_dir()
        storage = self.library.patch_storage(settings.patch_tokens, settings.patch_precision, self.device)
        return onboard(spec, self.descriptor, cache_dir, self.device, progress, storage, self.template_builder)
