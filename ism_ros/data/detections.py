"""Detections of one image: aligned arrays, row i of every field belongs to the same instance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from ism_ros.checks.input_warnings import InputWarning
from ism_ros.data.detection_evidence import DetectionEvidence, EvidenceRecord, joined_evidence


@dataclass(frozen=True)
class RejectedDetection:
    """A detection that the score threshold rejected.

    Attributes:
        class_id: The object's id.
        score: Its final score, below the threshold.
        box_xyxy: First and last column and row, both inclusive, pixels.
    """

    class_id: str
    score: float
    box_xyxy: tuple[int, int, int, int]

    @staticmethod
    def best_of(detections: Detections) -> RejectedDetection | None:
        """Take the detection with the highest score.

        Args:
            detections: Instances that were all rejected.

        Returns:
            The best of them, or None where there are none.
        """
        if not len(detections):
            return None
        best = int(detections.score.argmax())
        x_first, y_first, x_last, y_last = detections.boxes_xyxy[best].tolist()
        box_xyxy = (x_first, y_first, x_last, y_last)
        return RejectedDetection(detections.class_id(best), float(detections.score[best]), box_xyxy)


@dataclass(frozen=True)
class Detections:
    """Instances of known objects in one image, best first.

    Attributes:
        masks: (N, H, W) bool.
        boxes_xyxy: (N, 4) int64, first and last column and row, both inclusive, pixels.
        object_index: (N,) int64, into `object_ids`.
        template_index: (N,) int64, the template that matches best, or the one whose pose is used.
        score: (N,) float32, final score in [0, 1].
        semantic_score: (N,) float32, mean cosine of class tokens with the best templates.
        appearance_score: (N,) float32, mean of the best cosines of patch tokens.
        geometric_score: (N,) float32, IoU of the box with that of the projected model; 0 without depth.
        visible_ratio: (N,) float32, fraction of the template's patches that are matched; 0 without depth.
        rotation: (N, 3, 3) float32, object to camera; NaN where there is no pose.
        translation_m: (N, 3) float32, the object's origin in the camera frame, metres; NaN where there is no pose.
        object_ids: Ids of the library's objects at that moment.
        category_ids: Their BOP/COCO categories.
        stage_s: Seconds spent in each stage, in order.
        pose_covariance: (N, 6, 6) of x, y, z (metres) and rotations about x, y, z (radians) in the camera frame; NaN
            where there is no pose, None where it was not computed.
        model_box_m: (N, 2, 3), lowest and highest corner of the CAD model in the object frame, metres; NaN where there
            is no pose, None where it was not computed.
        instance_id: (N,) int64 from a tracker; None: row i is instance i + 1.
        view_similarity: (N, T), cosines of the class token with the templates of its object, 0 where another object has
            more templates; or None.
        fit_score: (N,) float32, the part of the score that comes from the alignment of templates with the depth; 0
            where there is none.
        best_rejected: Where no instance reached the score threshold, the best one that was rejected, if there was any.
        warnings: Doubts about the frame and the objects, which make this result doubtful.
        evidence: What speaks for and against each; None where the matcher does not verify poses.
    """

    masks: Tensor
    boxes_xyxy: Tensor
    object_index: Tensor
    template_index: Tensor
    score: Tensor
    semantic_score: Tensor
    appearance_score: Tensor
    geometric_score: Tensor
    visible_ratio: Tensor
    rotation: Tensor
    translation_m: Tensor
    object_ids: Sequence[str] = ()
    category_ids: Sequence[int] = ()
    stage_s: dict[str, float] = field(default_factory=dict)
    pose_covariance: Tensor | None = None
    model_box_m: Tensor | None = None
    instance_id: Tensor | None = None
    view_similarity: Tensor | None = None
    fit_score: Tensor = field(default=None)  # type: ignore[assignment]
    best_rejected: RejectedDetection | None = None
    warnings: tuple[InputWarning, ...] = ()
    evidence: DetectionEvidence | None = None

    def __post_init__(self) -> None:
        if self.fit_score is None:
            object.__setattr__(self, "fit_score", torch.zeros_like(self.score))

    def __len__(self) -> int:
        return int(self.masks.shape[0])

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Detections:
        """Select rows, such as `found[0]`, `found[:3]` or `found[found.score > 0.7]`.

        Args:
            index: A row, a slice, rows, or a tensor: (N,) bool or (K,) int64.

        Returns:
            The detections of these rows.

        Raises:
            IndexError: There is no such row.
        """
        rows = torch.arange(len(self))[index].reshape(-1) if isinstance(index, int) else index
        return self._each(lambda tensor: tensor[rows])

    def __iter__(self) -> Iterator[Detections]:
        """Yield one detection after the other, best first."""
        return (self[row] for row in range(len(self)))

    def to(self, device: torch.device | str) -> Detections:
        """Copy every tensor to a device.

        Args:
            device: Such as cpu or cuda:0.

        Returns:
            The same detections there.
        """
        return self._each(lambda tensor: tensor.to(device))

    def _each(self, act: Callable[[Tensor], Tensor]) -> Detections:
        changed: dict[str, Any] = {
            f.name: act(value) for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)
        }
        if self.evidence is not None:
            changed["evidence"] = self.evidence.each(act)
        return replace(self, **changed)

    def class_ids(self) -> list[str]:
        """Return the object's id of every row."""
        return [self.class_id(row) for row in range(len(self))]

    def class_id(self, row: int) -> str:
        """Return the object's id of row `row`."""
        return self.object_ids[int(self.object_index[row])]

    def category_id(self, row: int) -> int:
        """Return the BOP/COCO category of row `row`."""
        return self.category_ids[int(self.object_index[row])]

    def evidence_of(self, row: int) -> EvidenceRecord | None:
        """Return what speaks for and against row `row`, or None where it was not verified."""
        return None if self.evidence is None else self.evidence.record(row)

    def model_centers_m(self) -> Tensor:
        """Compute the centres of the models' boxes. Unlike origins, which may be far away, they move as the objects do.

        Returns:
            (N, 3) float64 in the camera frame, metres; NaN where there is no pose, the origins where boxes were not
            computed.
        """
        origins_m = self.translation_m.double()
        if self.model_box_m is None:
            return origins_m
        centers_m = (self.rotation.double() @ self.model_box_m.double().mean(dim=1)[:, :, None])[:, :, 0] + origins_m
        return torch.where(centers_m.isfinite(), centers_m, origins_m)

    def instance_ids(self) -> list[int]:
        """Return the number of each instance in messages and in the mask image, from 1."""
        return list(range(1, len(self) + 1)) if self.instance_id is None else self.instance_id.tolist()

    @staticmethod
    def empty(height: int, width: int, device: torch.device | str = "cpu") -> Detections:
        """Make no detections in an image of `height` x `width` pixels, on `device`."""

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        return Detections(
            masks=zeros(0, height, width, dtype=torch.bool),
            boxes_xyxy=zeros(0, 4, dtype=torch.int64),
            object_index=zeros(0, dtype=torch.int64),
            template_index=zeros(0, dtype=torch.int64),
            score=zeros(0),
            semantic_score=zeros(0),
            appearance_score=zeros(0),
            geometric_score=zeros(0),
            visible_ratio=zeros(0),
            rotation=zeros(0, 3, 3),
            translation_m=zeros(0, 3),
        )


def joined_detections(parts: Sequence[Detections]) -> Detections:
    """Join the rows of detections in one image, of one library; all else is that of the first.

    Args:
        parts: At least one; what is None in one of them is None in the result.

    Returns:
        The detections, those of the first part before the others.
    """
    first, changed = parts[0], dict[str, Any]()
    for one in fields(Detections):
        values = [getattr(part, one.name) for part in parts]
        if isinstance(values[0], Tensor):
            changed[one.name] = torch.cat(values) if all(isinstance(value, Tensor) for value in values) else None
    evidence = [part.evidence for part in parts]
    known = [one for one in evidence if one is not None]
    changed["evidence"] = joined_evidence(known) if len(known) == len(parts) else None
    return replace(first, **changed)
