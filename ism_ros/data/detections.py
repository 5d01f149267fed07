"""Aligned arrays over proposals and detections: row i of every field belongs to the same instance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from ism_ros.checks.input_warnings import InputWarning


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

    masks: (N, H, W) bool. boxes_xyxy: (N, 4) int64, inclusive pixels. object_index: (N,) int64 into `object_ids`.
    template_index: (N,) int64, the best template of that object, or the view of its pose. score: (N,) final score;
    semantic_score, appearance_score, geometric_score, visible_ratio: (N,), its parts. rotation: (N, 3, 3)
    object-to-camera; translation_m: (N, 3), where the object's origin is; both NaN where there is no pose. object_ids:
    the library's ids at that moment; category_ids: their BOP/COCO categories. stage_s: seconds spent in each stage, in
    order.

    pose_covariance: (N, 6, 6) of x y z (metres) and turns about x y z (radians) in the camera frame. model_box_m:
    (N, 2, 3), lowest and highest corner of the CAD model in the object frame. Both NaN where there is no pose, None
    where nobody asked. instance_id: (N,) int64 from a tracker, or None: row i is instance i + 1. view_similarity:
    (N, T), cosines of the class token with the templates of its object (0 where another one has more), or None.
    fit_score: (N,), the part of the score that is of the fit of the views, 0 where it is none (scoring_metric.py).
    best_rejected: where nothing reached the score threshold, the best of what did not, if there was anything.
    warnings: doubts about the frame and the objects, which make this result doubtful.
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

    def __post_init__(self) -> None:
        if self.fit_score is None:
            object.__setattr__(self, "fit_score", torch.zeros_like(self.score))

    def __len__(self) -> int:
        return int(self.masks.shape[0])

    def __getitem__(self, index: Tensor) -> Detections:
        """The rows at `index` (bool mask or integer tensor)."""
        return self._each(lambda tensor: tensor[index])

    def to(self, device: torch.device | str) -> Detections:
        """The same detections with every tensor on `device`."""
        return self._each(lambda tensor: tensor.to(device))

    def _each(self, act: Callable[[Tensor], Tensor]) -> Detections:
        changed: dict[str, Any] = {
            f.name: act(value) for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **changed)

    def class_id(self, row: int) -> str:
        return self.object_ids[int(self.object_index[row])]

    def category_id(self, row: int) -> int:
        return self.category_ids[int(self.object_index[row])]

    def model_centers_m(self) -> Tensor:
        """Where the middles of the models' boxes are, (N, 3) float64 in the camera frame, NaN where there is no pose;
        the origins where nobody asked for the boxes. Unlike far origins, they move as the objects do."""
        origins_m = self.translation_m.double()
        if self.model_box_m is None:
            return origins_m
        centers_m = (self.rotation.double() @ self.model_box_m.double().mean(dim=1)[:, :, None])[:, :, 0] + origins_m
        return torch.where(centers_m.isfinite(), centers_m, origins_m)

    def instance_ids(self) -> list[int]:
        """The number of each instance in messages and in the mask image, from 1."""
        return list(range(1, len(self) + 1)) if self.instance_id is None else self.instance_id.tolist()

    @staticmethod
    def empty(height: int, width: int, device: torch.device | str = "cpu") -> Detections:
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
