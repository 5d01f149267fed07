"""Every setting in one place: names, defaults, ranges and descriptions."""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ism_ros.config.paths import default_cache_dir, default_checkpoints_dir
from ism_ros.descriptors.base import DESCRIPTORS, TemplateNormalization
from ism_ros.errors import first_line
from ism_ros.matching.base import MATCHERS
from ism_ros.objects.stores.patch_tokens import PatchPlace, PatchPrecision
from ism_ros.runtime.model_request import NetworkRuntime
from ism_ros.segmentors.base import SAM6D_MIN_MASK, SEGMENTORS, TILES, PromptSource
from ism_ros.visualization import OverlayStyle

logger = logging.getLogger(__name__)

Changeable = Literal["live", "inactive", "unconfigured", "start"]
"""States of a node in which a setting may change: any, with effect from the next frame on; while it is not active;
while no model is loaded; only at its start."""
LIVE: dict[str, Any] = {"changeable": "live"}
WHILE_INACTIVE: dict[str, Any] = {"changeable": "inactive"}
AT_START: dict[str, Any] = {"changeable": "start"}
"""Schema entries of settings that are changeable in other states than `unconfigured`."""

RENAMED_VALUES = {
    "scoring": {"metric": "shape"},
    "segmentor": {"depth": "tiny"},
    "descriptor": {"classic": "tiny"},
}
"""Deprecated values of settings and their replacements, which are used with a warning."""
TRACKING_SWITCH = {"true": "ids", "1": "ids", "false": "none", "0": "none"}
"""What `tracking` was when it was a switch."""


class SettingsError(ValueError):
    """A setting that cannot be used; the message is one line that names it, its value and what is allowed."""


class Settings(BaseModel):
    """Everything that can be set.

    Field names are the names of the ROS parameters and, in capitals after ISM_, of the environment variables.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = Field("auto", description="Where models run: auto (a GPU when there is one), cpu, cuda:0, ...")
    cpu_threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="Threads of PyTorch on the CPU; 0 = up to four for tiny, else one a core.",
    )
    runtime: NetworkRuntime = Field(
        "torch",
        description="What runs the networks: torch, onnxruntime, or tensorrt (on a GPU, by onnxruntime). That of "
        "fastsam is run by what its file is for.",
    )
    profile: Literal["", "embedded", "fast", "balanced", "accurate"] = Field(
        "", description="Sets what is left at its default below for speed or for accuracy; empty = nothing."
    )
    segmentor: str = Field("tiny", description=f"Finds class-agnostic proposals: {', '.join(SEGMENTORS)}.")
    segmentor_model: str = Field(
        "", description="Which one of its models (ism weights list), or the path of a checkpoint; empty = the usual."
    )
    descriptor: str = Field("tiny", description=f"Describes crops and templates: {', '.join(DESCRIPTORS)}.")
    descriptor_model: str = Field(
        "", description="Which one of its models (ism weights list), or the path of a checkpoint; empty = the usual."
    )
    template_normalization: TemplateNormalization = Field(
        "imagenet",
        description="Colors of templates for neural descriptors: imagenet (as SAM-6D's BOP runs) or none (as its "
        "run_inference_custom.py).",
    )
    segmentor_width: int = Field(
        640, ge=0, le=8192, description="Width that images are scaled to for SAM and SAM 2, pixels; 0 = as they are."
    )
    prompts: PromptSource = Field(
        "grid",
        description="Prompts of SAM and SAM 2: grid (points everywhere, as their authors have it) or guided (points "
        "and boxes of what tiny and the depth show, and a coarse grid for the rest; about a tenth of the prompts).",
    )
    points_per_side: int = Field(32, ge=1, le=256, description="Side of the grid of point prompts of SAM and SAM 2.")
    predicted_iou_threshold: float = Field(
        0.88,
        ge=0.0,
        le=1.0,
        description="Least IoU that SAM and SAM 2 predict of their own masks; 0 = any. At its default, sam2 has 0.8.",
    )
    crop_layers: int = Field(
        0, ge=0, le=4, description="Layers of crops that SAM and SAM 2 look at besides the whole image."
    )
    tiles: str = Field(
        "auto",
        description="Tiles by which frames are seen beside the whole: auto (tiny, from 1.5 megapixels on and where a "
        "known object would be small), off, or the number along each side, 2 to 8.",
    )
    fastsam_confidence_threshold: float = Field(
        0.25, ge=0.0, le=1.0, description="Least confidence of a mask of FastSAM."
    )
    fastsam_nms_threshold: float = Field(0.9, ge=0.0, le=1.0, description="Largest box IoU of two masks of FastSAM.")
    checkpoints_dir: str = Field("", description="Folder of model checkpoints; empty = the user's data folder.")
    cache_dir: str = Field(
        "", description="Folder of rendered templates and descriptors; empty = the user's cache folder."
    )
    patch_tokens: PatchPlace = Field(
        "auto",
        description="Where patch tokens of templates are kept: device, host (memory), disk (read when needed), or "
        "auto, the first of these where they take at most half of the free memory.",
    )
    patch_precision: PatchPrecision = Field(
        "float32", description="Of the patch tokens of templates: float32, or float16, which takes half the memory."
    )
    objects_file: str = Field("", description="YAML list of the objects to find; empty = none at start.")
    save_objects: bool = Field(
        False, description="Keep objects_file as objects are added and removed at run time; it may be missing at start."
    )

    scoring: str = Field(
        "auto",
        description="How proposals and objects are compared: sam6d, noctis (all templates, patch by patch; slower), "
        "shape (sam6d and how well size and shape fit the depth), verified (poses refined against the depth; the score "
        "is a probability), or auto: verified for tiny, sam6d for the others.",
        json_schema_extra=LIVE,
    )
    confidence_threshold: float = Field(
        0.2, ge=0.0, le=1.0, description="Least semantic score of a proposal that is compared.", json_schema_extra=LIVE
    )
    score_threshold: float = Field(
        0.3, ge=0.0, le=1.0, description="Least final score of a detection that is published.", json_schema_extra=LIVE
    )
    stability_score_threshold: float = Field(
        0.85, ge=0.0, le=1.0, description="Least stability of a mask (sam and sam2).", json_schema_extra=LIVE
    )
    search_by_shape: bool = Field(
        False,
        description="Search what was not found once more, by size and shape in the depth (scoring verified); slower.",
        json_schema_extra=LIVE,
    )
    min_mask_pixels: int = Field(
        100,
        ge=SAM6D_MIN_MASK,
        le=100_000_000,
        description="Least size of a proposal, pixels of its mask; -1 = SAM-6D's shares of the image (0.03 % of its "
        "pixels, and a box of 5 % of its side: 92 pixels and 28 x 28 at 640 x 480).",
        json_schema_extra=LIVE,
    )
    nms_threshold: float = Field(
        0.25, ge=0.0, le=1.0, description="Largest box IoU of two detections of one object.", json_schema_extra=LIVE
    )
    overlap_threshold: float = Field(
        0.5,
        ge=0.0,
        le=1.0,
        description="Largest mask IoU of two detections of different objects; 1 = one region may be several objects.",
        json_schema_extra=LIVE,
    )
    max_detections: int = Field(
        100, ge=1, le=1000, description="Most detections a frame, best first.", json_schema_extra=LIVE
    )
    overlay_style: OverlayStyle = Field(
        "filled", description="How instances are drawn in ~/overlay: outline, filled or boxes.", json_schema_extra=LIVE
    )
    depth_registration: Literal["auto", "as_given"] = Field(
        "auto",
        description="Depth that is clearly not registered to rgb, by the edges of both: auto (scaled and shifted to "
        "fit, with a warning) or as_given (taken as it is).",
        json_schema_extra=LIVE,
    )
    tracking: Literal["none", "ids", "pose"] = Field(
        "none",
        description="Instances over time: none, ids (an instance keeps its id from frame to frame while it is in view) "
        "or pose (instances are followed at the camera's rate by their poses, beside the search; needs depth). true "
        "and false stand for ids and none.",
        json_schema_extra=LIVE,
    )
    publish_tf: bool = Field(
        False,
        description="With tracking pose, publish followed instances on /tf, as frames named by object and id.",
    )

    queue_size: int = Field(
        5,
        ge=1,
        le=100,
        description="Messages a topic kept while waiting for their partners.",
        json_schema_extra=WHILE_INACTIVE,
    )
    slop: float = Field(
        0.05,
        ge=0.0,
        le=10.0,
        description="Largest difference between stamps of one frame, seconds.",
        json_schema_extra=WHILE_INACTIVE,
    )
    rgb_transport: Literal["raw", "compressed"] = Field(
        "raw", description="Type of the rgb topic.", json_schema_extra=WHILE_INACTIVE
    )
    depth_transport: Literal["raw", "compressed_depth", "none"] = Field(
        "raw", description="Type of the depth topic; none = run without depth.", json_schema_extra=WHILE_INACTIVE
    )
    rectified: Literal["auto", "raw", "rectified"] = Field(
        "auto",
        description="Whether lens distortion was taken out of the rgb images: raw (K and D of camera_info count), "
        "rectified (P counts), or auto: rectified where the topic's name says so (image_rect...).",
        json_schema_extra=WHILE_INACTIVE,
    )
    reliability: Literal["auto", "reliable", "best_effort"] = Field(
        "auto",
        description="QoS of the subscriptions; auto takes reliable where every publisher offers it.",
        json_schema_extra=WHILE_INACTIVE,
    )
    max_rate: float = Field(
        0.0, ge=0.0, le=1000.0, description="Most frames a second, Hz; 0 = as fast as it goes.", json_schema_extra=LIVE
    )
    max_cpu: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="Largest share of all cores that the node uses on average: 0.5 = half of them; 0 = no limit.",
        json_schema_extra=LIVE,
    )
    autostart: bool = Field(
        True,
        description="Configure and activate the node at start, without a lifecycle manager.",
        json_schema_extra=AT_START,
    )

    @model_validator(mode="before")
    @classmethod
    def _take_renamed_values(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        renamed = {
            name: new[values[name]]
            for name, new in RENAMED_VALUES.items()
            if isinstance(values.get(name), str) and values[name] in new
        }
        for name, value in renamed.items():
            _warn_renamed(name, values[name], value)
        tracking = TRACKING_SWITCH.get(str(values.get("tracking")).lower())
        return {**values, **renamed, **({} if tracking is None else {"tracking": tracking})}

    @field_validator("tiles", mode="before")
    @classmethod
    def _check_tiles(cls, value: Any) -> str:
        # YAML reads off as false, and a number as one
        text = "off" if value is False else str(value)
        if text not in TILES:
            raise ValueError(f"input should be one of: {', '.join(TILES)}")
        return text

    @field_validator("scoring")
    @classmethod
    def _check_scoring(cls, value: str) -> str:
        if value != "auto" and value not in MATCHERS and ":" not in value:
            raise ValueError(f"input should be auto, {', '.join(MATCHERS)}, or module:attr of your own")
        return value

    def resolved_scoring(self) -> str:
        """Return the matcher: `scoring`, or that of the descriptor where it is auto."""
        return DESCRIPTORS.get(self.descriptor).matcher if self.scoring == "auto" else self.scoring

    def registers_depth(self) -> bool:
        """Tell whether depth that is clearly not registered to rgb is to be registered."""
        return self.depth_registration == "auto"

    def resolved_cache_dir(self) -> Path:
        """Return `cache_dir`, or the user's cache folder (XDG_CACHE_HOME/ism_ros) where it is empty."""
        if self.cache_dir:
            return Path(self.cache_dir).expanduser()
        return default_cache_dir()

    def resolved_checkpoints_dir(self) -> Path:
        """Return `checkpoints_dir`, or the user's data folder (XDG_DATA_HOME/ism_ros/checkpoints) where it is empty."""
        if self.checkpoints_dir:
            return Path(self.checkpoints_dir).expanduser()
        return default_checkpoints_dir()

    def resolved_cpu_threads(self) -> int:
        """Return `cpu_threads`; where it is 0, as many as make one of the models faster, at most one a core."""
        if self.cpu_threads:
            return self.cpu_threads
        cores = len(os.sched_getaffinity(0))
        most = SEGMENTORS.get(self.segmentor).cpu_threads, DESCRIPTORS.get(self.descriptor).cpu_threads
        return min(cores, max(cores if limit is None else limit for limit in most))

    def resolved_device(self) -> str:
        """Return `device`; where it is auto, the first GPU, or the CPU where there is none.

        Returns:
            PyTorch device, by the name that its tensors have: cuda:0 for cuda, cpu for cpu:1.

        Raises:
            SettingsError: The device cannot be used.
        """
        import torch

        if self.device == "auto":
            return "cuda:0" if torch.cuda.is_available() else "cpu"
        try:
            return str(torch.empty(0, device=self.device).device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise SettingsError(
                f"device '{self.device}' cannot be used ({first_line(error)}); set it to auto or cpu"
            ) from None


def changeable(name: str) -> Changeable:
    """Return when a setting may change in a running node.

    Args:
        name: Of the setting.

    Returns:
        The states of the node in which it may.
    """
    extra = Settings.model_fields[name].json_schema_extra
    return cast(Changeable, extra.get("changeable", "unconfigured")) if isinstance(extra, dict) else "unconfigured"


def check_depth(settings: Settings) -> None:
    """Check that a segmentor that needs depth gets it.

    Args:
        settings: Settings of a node.

    Raises:
        SettingsError: The segmentor needs depth, and `depth_transport` is none.
    """
    if settings.depth_transport == "none" and SEGMENTORS.get(settings.segmentor).needs_depth:
        raise SettingsError(
            f"segmentor '{settings.segmentor}' needs depth, but depth_transport is 'none': set it to raw"
        )


@lru_cache
def _warn_renamed(name: str, old: str, new: str) -> None:
    """Warn of a deprecated value, once for each."""
    logger.warning("%s '%s' is no longer there; '%s' is used instead: write that", name, old, new)
