"""Requests and responses as clients see them; /docs and /openapi.json are made of these."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, PositiveFloat

from ism_ros.cad.colors import color_text, parse_color
from ism_ros.cad.units import DEFAULT_UNITS_TEXT, UNITS_PATTERN, UNITS_TEXT

_GRAY_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAAAwCAIAAAAuKetIAAAAQUlEQVRo3u3PAQkAAAgDMDX5o9tCELYG6yT12dRzAgICAgICAgICAgICAgIC"
    "AgICAgICAgICAgICAgICAgICAncWNcMB4EdmrgwAAAAASUVORK5CYII="
)
_WALL_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAAAwEAAAAADUsP+AAAAANUlEQVRYw+3OQQEAAAQEsEMR/VOK4bMlWM3mVScCAgICAgICAgICAgICAgICAgIC"
    "AgICAr8O7+YAg+XbpQoAAAAASUVORK5CYII="
)
REQUEST_EXAMPLE: dict[str, Any] = {
    "rgb_image": _GRAY_PNG,
    "depth_image": _WALL_PNG,
    "cam_params": {"cam_K": [60.0, 0.0, 32.0, 0.0, 60.0, 24.0, 0.0, 0.0, 1.0], "depth_scale": 1.0},
    "object_ids": ["sample:banana"],
}
"""Request for a gray wall of 64 x 48 pixels at 0.8 m, small enough for /docs: valid as it is, with no detections."""
RESPONSE_EXAMPLE: dict[str, Any] = {
    "success": True,
    "detections": [
        {
            "category_id": 1,
            "class_id": "mug",
            "score": 0.80,
            "semantic_score": 0.79,
            "appearance_score": 0.83,
            "geometric_score": 0.86,
            "visible_ratio": 0.93,
            "fit_score": 0.71,
            "bbox": [10, 20, 3, 2],
            "segmentation": {"counts": "d?3]100000\\Z2", "size": [48, 64]},
            "template_index": 17,
            "pose": {"rotation": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], "translation_m": [0.1, -0.05, 0.8]},
            "evidence": {
                "outline_iou": {"value": 0.93, "contribution": 0.8},
                "color_correlation": {"value": 0.05, "contribution": -0.3},
            },
        }
    ],
    "num_detections": 1,
    "warnings": [],
    "scores": [0.80],
    "inference_time": 0.15,
    "stage_times": {"proposals": 0.09, "descriptors": 0.05, "scores": 0.01},
    "visualization": None,
    "template_dir_used": None,
    "cad_path_used": "/data/mug.ply",
    "output_dir_used": None,
    "error_message": None,
}
"""Response with one detection, for /docs."""


def _flattened(value: Any) -> Any:
    """Flatten a 3 x 3 matrix row by row; leave anything else to the validation that follows."""
    if isinstance(value, (list, tuple)) and len(value) == 3 and all(isinstance(row, (list, tuple)) for row in value):
        return [number for row in value for number in row]
    return value


class CameraParameters(BaseModel):
    """The camera of a frame; metres = stored depth * depth_scale / 1000."""

    cam_K: Annotated[list[FiniteFloat], Field(min_length=9, max_length=9), BeforeValidator(_flattened)] = Field(  # noqa: N815
        description="Camera matrix, pixels: 9 numbers row by row, or 3 x 3.",
        examples=[[600.0, 0.0, 320.0, 0.0, 600.0, 240.0, 0.0, 0.0, 1.0]],
    )
    depth_scale: PositiveFloat = Field(1.0, le=1e6, description="1.0 where depth_image counts millimetres.")


CadColor = Annotated[str, AfterValidator(lambda text: color_text(parse_color(text)))]
"""Color of a CAD model as clients write it, normalised to '#rrggbb'."""


class InferenceRequest(BaseModel):
    """One frame, and what to look for in it: template_dir and cad_path, or object_ids, or what the server has."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [REQUEST_EXAMPLE]})

    rgb_image: str = Field(description="PNG or JPEG in base64; a data-URL prefix is allowed.")
    depth_image: str | None = Field(None, description="16-bit PNG in base64, registered to rgb_image.")
    cam_params: CameraParameters
    segmentor_model: str | None = Field(None, description="One of /api/v1/status's segmentors, such as sam or fastsam.")
    stability_score_thresh: float | None = Field(None, ge=0, le=1, description="Least stability of a mask of SAM.")
    template_dir: str | None = Field(None, description="SAM-6D template folder, relative to ISM_DATA_ROOT.")
    cad_path: str | None = Field(None, description="CAD file, relative to ISM_DATA_ROOT.")
    cad_units: str | None = Field(
        None, pattern=UNITS_PATTERN, description=f"Units of the CAD file: {UNITS_TEXT}; else {DEFAULT_UNITS_TEXT}."
    )
    cad_color: CadColor | None = Field(
        None,
        description="The one color of the CAD model, instead of its own: '#5a78aa', '90,120,170' or a name.",
    )
    object_ids: list[str] | None = Field(None, max_length=10_000, description="Only these of the server's objects.")
    score_threshold: float | None = Field(None, ge=0, le=1, description="Least final score of a detection.")
    min_mask_pixels: int | None = Field(
        None, ge=-1, le=100_000_000, description="Least pixels of a mask; -1 = SAM-6D's shares of the image."
    )
    output_dir: str | None = Field(None, description="Folder in which the server writes detection_ism.json and so on.")
    visualization: bool | None = Field(None, description="Send the overlay as PNG in base64.")


class Rle(BaseModel):
    """Mask as run lengths in COCO's format."""

    counts: str = Field(description="Compressed run lengths.")
    size: list[int] = Field(description="Height and width, pixels.")


class Pose(BaseModel):
    """Transform from the object's to the camera's frame."""

    rotation: list[float] = Field(description="3 x 3 row by row.")
    translation_m: list[float] = Field(description="Metres.")


class EvidenceTerm(BaseModel):
    """One feature that a score was made of."""

    value: float
    contribution: float = Field(
        description="Change of the score's log-odds by this value instead of its mean: positive for the detection."
    )


class Detection(BaseModel):
    """One instance of an object."""

    category_id: int
    class_id: str
    score: float
    semantic_score: float
    appearance_score: float
    geometric_score: float
    visible_ratio: float
    fit_score: float = Field(description="0 where it is no part of the score.")
    bbox: list[int] = Field(description="x, y, width, height, pixels.")
    segmentation: Rle
    template_index: int
    pose: Pose | None = Field(description="null where there is no depth or no template pose.")
    evidence: dict[str, EvidenceTerm] | None = Field(
        default=None,
        description="What speaks for and against the detection, by the names of docs/tiny.md; null where it was not "
        "verified.",
    )


class RejectedDetection(BaseModel):
    """The best candidate that score_threshold rejected."""

    class_id: str
    score: float
    bbox: list[int] = Field(description="x, y, width, height, pixels.")


class ResponseWarning(BaseModel):
    """A doubt about the input that makes the result doubtful."""

    reason: str = Field(description="A stable word for programs.")
    text: str = Field(description="A sentence for people.")


class InferenceResponse(BaseModel):
    """The response to every inference request, good or bad."""

    model_config = ConfigDict(json_schema_extra={"examples": [RESPONSE_EXAMPLE]})

    success: bool
    detections: list[Detection] = []
    num_detections: int = Field(default=0, description="As earlier ISM servers send it.")
    best_rejected: RejectedDetection | None = Field(
        default=None, description="The best candidate that score_threshold rejected, where there is no detection."
    )
    near_miss: RejectedDetection | None = Field(default=None, deprecated="use best_rejected")
    warnings: list[ResponseWarning] = Field(default=[], description="Doubts about frame, camera and objects.")
    scores: list[float] = []
    inference_time: float = Field(default=0.0, description="Seconds of the models.")
    stage_times: dict[str, float] = Field(default={}, description="Seconds of each stage, in order.")
    visualization: str | None = Field(default=None, description="The overlay, PNG in base64.")
    template_dir_used: str | None = None
    cad_path_used: str | None = None
    output_dir_used: str | None = Field(default=None, description="As earlier ISM servers send it.")
    error_message: str | None = Field(default=None, description="null where success is true.")


class Health(BaseModel):
    """That the server runs, and which version."""

    status: str = "healthy"
    version: str


class OnboardingEntry(BaseModel):
    """Progress of an object that a request named by path."""

    id: str
    done: int = Field(description="Templates rendered.")
    total: int = Field(description="Templates to render; 0 until it is known.")


class Status(BaseModel):
    """Models, objects, and how busy the server is."""

    state: str = Field(description="loading, ready or failed.")
    message: str = Field(description="What is being loaded, or why it failed.")
    segmentor: str
    descriptor: str
    segmentors: list[str] = Field(description="What requests may name as segmentor_model.")
    score_threshold: float = Field(description="Of requests that name none.")
    device: str
    objects: list[str]
    templates_loaded: int
    uptime_s: float
    queue_depth: int
    queue_size: int
    onboarding: list[OnboardingEntry] = Field(default=[], description="Objects named by path that are not ready yet.")


class ObjectEntry(BaseModel):
    """One object that requests may ask for."""

    id: str
    category_id: int
    templates: int
    uploaded: bool = Field(description="Over HTTP, so that it can be deleted.")
    size_m: list[float] | None = Field(
        default=None, description="Sides of the box around its model, metres, so that wrong units are seen."
    )
    warnings: list[ResponseWarning] = Field(default=[], description="Doubts about its files.")


class Objects(BaseModel):
    """All objects that requests may ask for."""

    objects: list[ObjectEntry]
    version: int = Field(description="Counts changes.")


class Done(BaseModel):
    """What was done."""

    success: bool = True
    message: str
