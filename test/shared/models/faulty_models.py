"""Models that fail on demand, chosen as `faulty_models:NAME`: what they are to suffer stands in the JSON file $FAULTS.

{"load": "raise"}                 loading the segmentor meets an error that nobody foresaw
{"load": "block"}                 it does not come back until the file says otherwise
{"segmentor": "raise"}            the same for a frame, or "block", or "out_of_memory"; also each other stage of it in
                                  which a model has a part: "crops", "descriptor", "scoring", "selection", "pose"
{"segmentor_fits": 4}             more than 4 rows at once do not fit into the memory of its network (SAM); also
                                  "descriptor_fits" (DINOV2) and "scoring_fits" (NOCTIS)
{"ballast_mb": 400}               the segmentor that is loaded holds so much memory of its device

Each line of $FAULTS.events is one thing that happened: "segmentor blocks", "model freed".
"""

from __future__ import annotations

import json
import os
import time
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ism_ros.checkpoints.catalog import find_checkpoint
from ism_ros.checkpoints.loaders.dinov2_checkpoint import load_dinov2
from ism_ros.checkpoints.loaders.sam_checkpoint import load_sam
from ism_ros.checkpoints.reading import fingerprint
from ism_ros.data.frame import Frame
from ism_ros.data.proposals import Proposals
from ism_ros.descriptors.base import Descriptor, Descriptors, DescriptorSpec, create_descriptor
from ism_ros.descriptors.dinov2 import CROP_SIZE
from ism_ros.descriptors.vit import VitDescriptor
from ism_ros.matching.base import MATCHERS, Matcher, MatcherSpec, Matches, MatchInputs
from ism_ros.objects.library import ObjectLibrary
from ism_ros.runtime.model_request import ModelRequest
from ism_ros.segmentors.base import SAM6D_THRESHOLDS, SEGMENTORS, Segmentor, SegmentorSpec, create_segmentor
from ism_ros.segmentors.sam.automatic_masks import AutomaticMaskSegmentor, mask_options
from ism_ros.segmentors.sam.sam_segmentor import PromptableSam

TOO_MUCH = 1 << 60
"""Bytes that no machine has."""
SLOW_S = 1.0
"""Seconds that a frame takes the segmentor SLOW, as it does a large one on a weak GPU."""


def faults() -> dict[str, Any]:
    return json.loads(Path(os.environ["FAULTS"]).read_text())


def happened(what: str) -> None:
    with Path(os.environ["FAULTS"] + ".events").open("a") as events:
        events.write(what + "\n")


def suffer(stage: str) -> None:
    """Whatever $FAULTS has for `stage` now."""
    fault = faults().get(stage)
    if fault == "raise":
        raise RuntimeError(f"the {stage} lost its way\nin a second line")
    if fault == "out_of_memory":
        torch.empty(TOO_MUCH, dtype=torch.uint8)
    if fault == "block":
        happened(f"{stage} blocks")
        while faults().get(stage) == "block":
            time.sleep(0.005)


def fit(stage: str, rows: int) -> None:
    """Run out of memory where these are more rows than $FAULTS lets `stage` have at once."""
    if rows > faults().get(f"{stage}_fits", rows):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def report_freed(what: str, part: object) -> None:
    """Make it an event that nobody holds `part` any more."""
    weakref.finalize(part, happened, f"{what} freed").atexit = False


class FaultySegmentor:
    """Another segmentor, which suffers `segmentor` before each frame, and holds `ballast_mb`."""

    def __init__(self, segmentor: Segmentor, device: str) -> None:
        self._segmentor = segmentor
        self._ballast = torch.ones(faults().get("ballast_mb", 0) << 20, dtype=torch.uint8, device=device)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._segmentor, name)

    def propose(self, frame: Frame, stability_score_threshold: float | None = None) -> Proposals:
        suffer("segmentor")
        return self._segmentor.propose(frame, stability_score_threshold)


class FaultyDescriptor:
    """Another descriptor, which suffers `crops` where its crops are to be made and `descriptor` where it has them."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._descriptor, name)

    @property
    def crop_size(self) -> int:
        suffer("crops")
        return self._descriptor.crop_size

    def describe(self, *crops: Tensor) -> Descriptors:
        suffer("descriptor")
        return self._descriptor.describe(*crops)


class FaultyMatcher:
    """Another matcher, which suffers `scoring`, and whose results make the stages after it fail."""

    def __init__(self, name: str) -> None:
        self._matcher: Matcher = MATCHERS.get(name).matcher
        self._known: set[int] = set()

    def match(self, inputs: MatchInputs) -> Matches:
        suffer("scoring")
        for known in inputs.library.objects:
            if id(known) not in self._known:
                self._known.add(id(known))
                report_freed(known.id, known)
                weakref.finalize(known, self._known.discard, id(known)).atexit = False
        matches = self._matcher.match(replace(inputs, library=FaultyLibrary(inputs.library)))
        if matches.verified is None:
            return matches
        covariance = matches.verified.pose_covariance.as_subclass(FaultyCovariance)
        return replace(matches, verified=replace(matches.verified, pose_covariance=covariance))

    def final_score(self, matches: Matches, geometric: Tensor, visible_ratio: Tensor, confidence: Tensor) -> Tensor:
        """Scores that nothing can be selected by where `selection` is to fail: one too many, or far too many."""
        score = self._matcher.final_score(matches, geometric, visible_ratio, confidence)
        fault = faults().get("selection")
        if fault == "raise":
            return torch.cat([score, score.new_ones(1)])
        return score.new_ones(1).expand(TOO_MUCH // 8) if fault == "out_of_memory" else score


class FaultyCovariance(Tensor):
    """Covariances of verified poses that suffer `pose` where poses are made with them."""

    def cpu(self) -> Tensor:
        suffer("pose")
        return self.as_subclass(Tensor).cpu()


class FaultyLibrary:
    """Another library, whose patch tokens can be compared with those of as many proposals at once as fit."""

    def __init__(self, library: ObjectLibrary) -> None:
        self._library = library

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def __len__(self) -> int:
        return len(self._library)

    def patch_tokens_of(self, object_index: Tensor, template_index: Tensor) -> Tensor:
        return self._library.patch_tokens_of(object_index, template_index).as_subclass(FaultyTokens)


class FaultyTokens(Tensor):
    """Patch tokens of templates that run out of memory where they are to become like those of too many proposals."""

    def to(self, other: Tensor) -> Tensor:
        fit("scoring", len(other))
        return super().to(other).as_subclass(Tensor)


class SlowSegmentor:
    """Another segmentor, which takes SLOW_S for each frame."""

    def __init__(self, segmentor: Segmentor) -> None:
        self._segmentor = segmentor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._segmentor, name)

    def propose(self, frame: Frame, stability_score_threshold: float | None = None) -> Proposals:
        until_s = time.monotonic() + SLOW_S
        proposals = self._segmentor.propose(frame, stability_score_threshold)
        time.sleep(max(0.0, until_s - time.monotonic()))
        return proposals


def load_tiny_segmentor(request: ModelRequest) -> FaultySegmentor:
    suffer("load")
    segmentor = create_segmentor("tiny", request.device)
    report_freed("segmentor", segmentor)
    # the model holds it as long as it is there itself
    report_freed("model", request.recoveries)
    return FaultySegmentor(segmentor, request.device)


def load_sam_segmentor(request: ModelRequest) -> FaultySegmentor:
    network = load_sam(find_checkpoint(request.checkpoints_dir, "sam", request.model))
    network.register_forward_pre_hook(
        lambda network, _, inputs: fit("segmentor", inputs["input_points"].shape[1]), with_kwargs=True
    )
    promptable = PromptableSam(network, request.device)
    segmentor = AutomaticMaskSegmentor("sam", promptable, mask_options(request), request.recoveries)
    return FaultySegmentor(segmentor, request.device)


def load_tiny_descriptor(request: ModelRequest) -> FaultyDescriptor:
    descriptor = create_descriptor("tiny", request.device, recoveries=request.recoveries)
    report_freed("descriptor", descriptor)
    return FaultyDescriptor(descriptor)


def load_dinov2_descriptor(request: ModelRequest) -> FaultyDescriptor:
    checkpoint = find_checkpoint(request.checkpoints_dir, "dinov2", request.model)
    network = load_dinov2(checkpoint, CROP_SIZE)
    network.register_forward_pre_hook(lambda network, inputs: fit("descriptor", len(inputs[0])))
    name = f"dinov2-{fingerprint(checkpoint)}"
    return FaultyDescriptor(VitDescriptor("dinov2", network, name, request.device, recoveries=request.recoveries))


TINY_SEGMENTOR = replace(SEGMENTORS.get("tiny"), load=load_tiny_segmentor)
TINY_DESCRIPTOR = DescriptorSpec(load_tiny_descriptor, matcher="faulty_models:VERIFIED", cpu_threads=4)
VERIFIED = MatcherSpec(FaultyMatcher("verified"))

SAM = SegmentorSpec(load_sam_segmentor, thresholds={"faulty_models:DINOV2": SAM6D_THRESHOLDS})
DINOV2 = DescriptorSpec(load_dinov2_descriptor, matcher="faulty_models:NOCTIS")
NOCTIS = MatcherSpec(FaultyMatcher("noctis"))

SLOW = replace(SEGMENTORS.get("tiny"), load=lambda request: SlowSegmentor(create_segmentor("tiny", request.device)))
