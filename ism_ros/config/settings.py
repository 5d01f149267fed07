"""Every setting in one place: defaults < YAML < ISM_* environment < ROS parameters or command-line flags."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ism_ros.checkpoints.catalog import PROFILES as CHECKPOINTS_OF_PROFILES
from ism_ros.checkpoints.catalog import checkpoint_named
from ism_ros.config.paths import default_cache_dir, default_checkpoints_dir
from ism_ros.descriptors import DESCRIPTORS, TemplateNormalization
from ism_ros.objects.stores.patch_tokens import PatchPlace, PatchPrecision
from ism_ros.segmentors import SEGMENTORS
from ism_ros.segmentors.sam.automatic_masks import MaskOptions
from ism_ros.segmentors.small_proposals import SHARES_OF_SAM6D
from ism_ros.visualization import OverlayStyle


def _models(profile: str) -> dict[str, str]:
    """Segmentor and descriptor of a profile, as settings."""
    segmentor, descriptor = (checkpoint_named(name) for name in CHECKPOINTS_OF_PROFILES[profile])
    return {
        "segmentor": segmentor.family,
        "segmentor_model": segmentor.model,
        "descriptor": descriptor.family,
        "descriptor_model": descriptor.model,
    }


SAM6D_THRESHOLDS = {"score_threshold": 0.2, "overlap_threshold": 1.0, "min_mask_pixels": SHARES_OF_SAM6D}
"""0.2 is from where SAM-6D's pose estimation takes detections; of different objects it keeps all, however they overlap;
it leaves out proposals by their share of the picture."""
PAIRS: dict[tuple[str, str], dict[str, Any]] = {
    ("sam", "dinov2"): SAM6D_THRESHOLDS,
    ("fastsam", "dinov2"): SAM6D_THRESHOLDS,
    ("depth", "classic"): {"score_threshold": 0.7},
}
"""Thresholds of segmentors and descriptors whose scores are others than those of the embedded pair, which has the
defaults. SAM-6D is published with the first two."""

PROFILES: dict[str, dict[str, Any]] = {
    "embedded": {"segmentor": "tiny", "descriptor": "tiny"},
    "fast": {**_models("fast"), "predicted_iou_threshold": 0.8, "score_threshold": 0.2},
    "balanced": {**_models("balanced"), "predicted_iou_threshold": 0.8, "score_threshold": 0.2},
    "accurate": {**_models("accurate"), **SAM6D_THRESHOLDS},
}
"""What each profile sets. `accurate` is SAM-6D as published; 0.8 is the least predicted IoU of SAM 2's authors."""

Changeable = Literal["live", "inactive", "unconfigured", "start"]
"""When a running node takes another value: at any moment, from the next frame on; while it is not active; while no
model is loaded; only where it is started."""
LIVE: dict[str, Any] = {"changeable": "live"}
WHILE_INACTIVE: dict[str, Any] = {"changeable": "inactive"}
AT_START: dict[str, Any] = {"changeable": "start"}


TINY_THREADS = 4
"""More threads would wait for each other longer than they compute."""


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
        description="Threads of PyTorch on the CPU; 0 = one for the hand-made models, up to four for tiny, else one a "
        "core.",
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
        description="Colours of templates for neural descriptors: imagenet (as SAM-6D's BOP runs) or none (as its "
        "run_inference_custom.py).",
    )
    segmentor_width: int = Field(
        640, ge=0, le=8192, description="Width that images are scaled to for SAM and SAM 2, pixels; 0 = as they are."
    )
    points_per_side: int = Field(32, ge=1, le=256, description="Side of the grid of point prompts of SAM and SAM 2.")
    predicted_iou_threshold: float = Field(
        0.88, ge=0.0, le=1.0, description="Least IoU that SAM and SAM 2 predict of their own masks; 0 = any."
    )
    crop_layers: int = Field(
        0, ge=0, le=4, description="Layers of crops that SAM and SAM 2 look at besides the whole image."
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

    scoring: Literal["auto", "sam6d", "noctis", "metric"] = Field(
        "auto",
        description="How proposals and objects are compared: sam6d, noctis (all templates, patch by patch; slower), "
        "metric (sam6d and how well size and shape fit the depth), or auto: metric for tiny, sam6d for the others.",
        json_schema_extra=LIVE,
    )
    confidence_threshold: float = Field(
        0.2,
        ge=0.0,
        le=1.0,
        description="Least semantic score of a proposal that is scored further.",
        json_schema_extra=LIVE,
    )
    score_threshold: float = Field(
        0.55, ge=0.0, le=1.0, description="Least final score of a detection that is published.", json_schema_extra=LIVE
    )
    stability_score_threshold: float = Field(
        0.85,
        ge=0.0,
        le=1.0,
        description="Least stability of a mask (segmentors of the SAM family).",
        json_schema_extra=LIVE,
    )
    min_mask_pixels: int = Field(
        100,
        ge=SHARES_OF_SAM6D,
        le=100_000_000,
        description="Least size of a proposal, pixels of its mask; -1 = SAM-6D's shares of the picture (0.03 % of its "
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
    tracking: bool = Field(
        False, description="An instance keeps its id from frame to frame while it is in view.", json_schema_extra=LIVE
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
    autostart: bool = Field(
        True,
        description="Configure and activate the node at start, without a lifecycle manager.",
        json_schema_extra=AT_START,
    )

    def resolved_scoring(self) -> Literal["sam6d", "noctis", "metric"]:
        """`scoring`, or what suits the descriptor where it is auto."""
        if self.scoring == "auto":
            return "metric" if self.descriptor == "tiny" else "sam6d"
        return self.scoring

    def resolved_cache_dir(self) -> Path:
        """`cache_dir`, or the user's cache folder (XDG_CACHE_HOME/ism_ros) where it is empty."""
        if self.cache_dir:
            return Path(self.cache_dir).expanduser()
        return default_cache_dir()

    def resolved_checkpoints_dir(self) -> Path:
        """`checkpoints_dir`, or the user's data folder (XDG_DATA_HOME/ism_ros/checkpoints) where it is empty."""
        if self.checkpoints_dir:
            return Path(self.checkpoints_dir).expanduser()
        return default_checkpoints_dir()

    def mask_options(self) -> MaskOptions:
        """What segmentors of the SAM family are asked for."""
        return MaskOptions(
            width=self.segmentor_width,
            points_per_side=self.points_per_side,
            predicted_iou=self.predicted_iou_threshold,
            stability=self.stability_score_threshold,
            crop_layers=self.crop_layers,
            fastsam_confidence=self.fastsam_confidence_threshold,
            fastsam_nms=self.fastsam_nms_threshold,
        )

    def resolved_cpu_threads(self) -> int:
        """`cpu_threads` with 0 decided: tensors of the hand-made models are too small to be shared out, those of tiny
        too small to be shared out among many."""
        if self.cpu_threads:
            return self.cpu_threads
        if self.segmentor == "depth" and self.descriptor == "classic":
            return 1
        cores = len(os.sched_getaffinity(0))
        return min(cores, TINY_THREADS) if self.segmentor == self.descriptor == "tiny" else cores

    def resolved_device(self) -> str:
        """`device` with auto decided; SettingsError where it cannot be used."""
        import torch

        if self.device == "auto":
            return "cuda:0" if torch.cuda.is_available() else "cpu"
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            first_line = str(error).strip().splitlines()[0]
            raise SettingsError(
                f"device '{self.device}' cannot be used ({first_line}); set it to auto or cpu"
            ) from None
        return self.device


def changeable(name: str) -> Changeable:
    """When a setting may change in a running node."""
    extra = Settings.model_fields[name].json_schema_extra
    return cast(Changeable, extra.get("changeable", "unconfigured")) if isinstance(extra, dict) else "unconfigured"


def changed_models(settings: Settings, given: Mapping[str, Any]) -> dict[str, Any]:
    """What else changes when `settings` get another profile, segmentor or descriptor: what the old profile or pair had
    set goes back to its default first, then the new one sets its own. given: of these three, what is set by hand.
    """
    values = settings.model_dump()
    old = _set_by(values)
    left = {name: Settings.model_fields[name].default for name, value in old.items() if values[name] == value}
    wanted = with_profile({**values, **left, **given}, given)
    return {
        name: wanted[name] for name in {**old, **_set_by(wanted)} if name not in given and wanted[name] != values[name]
    }


def check_depth(settings: Settings) -> None:
    """SettingsError where the segmentor needs depth and none is to come."""
    if settings.segmentor == "depth" and settings.depth_transport == "none":
        raise SettingsError("segmentor 'depth' needs depth, but depth_transport is 'none': set it to raw")


def load_settings(
    yaml_path: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Settings:
    """Settings from all sources, later ones winning: defaults, `yaml_path`, ISM_* of `environment`, `overrides`,
    `flags`.

    environment: os.environ when left out. flags: of a command line, where each was typed for this run: unlike the
    others, one stands beside a profile even where it equals the default. Raises SettingsError with one clear line.
    """
    values: dict[str, Any] = {}
    if yaml_path is not None:
        values.update(_read_yaml(yaml_path))
    environment = os.environ if environment is None else environment
    for name in Settings.model_fields:
        text = environment.get(f"ISM_{name.upper()}")
        if text is not None:
            values[name] = text
    values.update(overrides or {})
    values.update(flags or {})
    return checked_settings(with_profile(values, flags or ()))


def with_profile(values: Mapping[str, Any], standing: Collection[str] = ()) -> dict[str, Any]:
    """`values` with what their profile sets, or without one their pair of models, where they leave it out or at its
    default; the names in `standing` stay as they are. A profile's model is not meant for another segmentor or
    descriptor that was chosen beside it.
    """
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    wanted = _set_by(values)
    left = {
        name: value
        for name, value in wanted.items()
        if name not in standing and values.get(name, defaults[name]) == defaults[name]
    }
    result = {**values, **left}
    for kind in ("segmentor", "descriptor"):
        if f"{kind}_model" in left and result[kind] != wanted[kind]:
            result[f"{kind}_model"] = defaults[f"{kind}_model"]
    return result


def _set_by(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the profile of `values` sets, or without one their pair of models."""
    pair = (str(values.get("segmentor")), str(values.get("descriptor")))
    return PROFILES.get(str(values.get("profile", ""))) or PAIRS.get(pair, {})


def checked_settings(values: Mapping[str, Any]) -> Settings:
    """The settings with these values, all others at their defaults; SettingsError with one clear line."""
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(entry) for entry in error.errors())) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    """Settings in a YAML file: plain, or in the ROS form `node_name: {ros__parameters: {...}}`."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings file {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path} is not YAML: {str(error).splitlines()[0]}") from None
    if content is None:
        return {}
    if isinstance(content, dict) and len(content) == 1:
        inner = next(iter(content.values()))
        if isinstance(inner, dict) and "ros__parameters" in inner:
            content = inner["ros__parameters"] or {}
    if not isinstance(content, dict):
        raise SettingsError(f"settings file {path} must be a mapping of names to values")
    return content


def _explain(error: Any) -> str:
    """One pydantic error as a sentence: which setting, what it was given, what is allowed."""
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"setting '{name}' is unknown; known: {', '.join(Settings.model_fields)}"
    return f"setting '{name}' cannot be {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"
