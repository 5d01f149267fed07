"""Requests and answers as clients see them; /docs and /openapi.json are made of these."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, PositiveFloat

from ism_ros.cad.colors import colour_text, parse_colour
from ism_ros.cad.units import DEFAULT_UNITS_TEXT, UNITS_PATTERN, UNITS_TEXT

_GREY_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAAAwCAIAAAAuKetIAAAAQUlEQVRo3u3PAQkAAAgDMDX5o9tCELYG6yT12dRzAgICAgICAgICAgICAgIC"
    "AgICAgICAgICAgICAgICAgICAncWNcMB4EdmrgwAAAAASUVORK5CYII="
)
_WALL_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAAAwEAAAAADUsP+AAAAANUlEQVRYw+3OQQEAAAQEsEMR/VOK4bMlWM3mVScCAgICAgICAgICAgICAgICAgIC"
    "AgICAr8O7+YAg+XbpQoAAAAASUVORK5CYII="
)
REQUEST_EXAMPLE: dict[str, Any] = {
    "rgb_image": _GREY_PNG,
    "depth_image": _WALL_PNG,
    "cam_params": {"cam_K": [60.0, 0.0, 32.0, 0.0, 60.0, 24.0, 0.0, 0.0, 1.0], "depth_scale": 1.0},
    "object_ids": ["sample:banana"],
}
"""A grey wall of 64 x 48 pixels at 0.8 m, small enough for /docs: it can be sent as it is, and nothing is found in it.
"""
ANSWER_EXAMPLE: dict[str, Any] = {
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


def _nine(value: Any) -> Any:
    """A 3 x 3 matrix row by row; anything else is left to be judged as it is."""
    if isinstance(value, (list, tuple)) and len(value) == 3 and all(isinstance(row, (list, tuple)) for row in value):
        return [number for row in value for number in row]
    return value


class CameraParameters(BaseModel):
    """cam_K: camera matrix, pixels, 9 numbers row by row or 3 x 3. Metres = stored depth * depth_scale / 1000."""

    cam_K: Annotated[list[FiniteFloat], Field(min_length=9, max_length=9), BeforeValidator(_nine)] = Field(  # noqa: N815
        examples=[[600.0, 0.0, 320.0, 0.0, 600.0, 240.0, 0.0, 0.0, 1.0]]
    )
    depth_scale: PositiveFloat = Field(1.0, le=1e6, description="1.0 where depth_image counts millimetres.")


CadColor = Annotated[str, AfterValidator(lambda text: colour_text(parse_colour(text)))]
"""As '#rrggbb' once it was read."""


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
        None, description="The one colour of the CAD model, instead of its own: '#5a78aa', '90,120,170' or a name."
    )
    object_ids: list[str] | None = Field(None, max_length=10_000, description="Only these of the server's objects.")
    score_threshold: float | None = Field(None, ge=0, le=1, description="Least final score of a detection.")
    min_mask_pixels: int | None = Field(
        None, ge=-1, le=100_000_000, description="Least pixels of a mask; -1 = SAM-6D's shares of the picture."
    )
    output_dir: str | None = Field(None, description="Folder in which the server writes detection_ism.json and so on.")
    visualization: bool | None = Field(None, description="Send the overlay as PNG in base64.")


class Rle(BaseModel):
    """COCO run lengths. size: height, width."""

    counts: str
    size: list[int]


class Pose(BaseModel):
    """Object to camera. rotation: 3 x 3 row by row; translation_m: metres."""

    rotation: list[float]
    translation_m: list[float]


class Detection(BaseModel):
    """One instance. bbox: x, y, width, height, pixels. pose: None where there is no depth or no template pose.
    fit_score: 0 where it is no part of the score."""

    category_id: int
    class_id: str
    score: float
    semantic_score: float
    appearance_score: float
    geometric_score: float
    visible_ratio: float
    fit_score: float
    bbox: list[int]
    segmentation: Rle
    template_index: int
    pose: Pose | None


class NearMiss(BaseModel):
    """The best of what score_threshold kept out. bbox: x, y, width, height, pixels."""

    class_id: str
    score: float
    bbox: list[int]


class AnswerWarning(BaseModel):
    """A doubt about the request that makes its answer doubtful. reason: a stable word; text: a sentence."""

    reason: str
    text: str


class InferenceAnswer(BaseModel):
    """The answer to every request, good or bad; error_message is None where success is true.

    inference_time: seconds of the models. stage_times: seconds of each stage, in order. near_miss: where there is no
    detection, what came nearest to one. warnings: doubts about frame, camera and objects. num_detections and
    output_dir_used: as earlier ISM servers answer.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [ANSWER_EXAMPLE]})

    success: bool
    detections: list[Detection] = []
    num_detections: int = 0
    near_miss: NearMiss | None = None
    warnings: list[AnswerWarning] = []
    scores: list[float] = []
    inference_time: float = 0.0
    stage_times: dict[str, float] = {}
    visualization: str | None = None
    template_dir_used: str | None = None
    cad_path_used: str | None = None
    output_dir_used: str | None = None
    error_message: str | None = None


class Health(BaseModel):
    status: str = "healthy"
    version: str


class OnboardingEntry(BaseModel):
    """done, total: views rendered; total is 0 until it is known."""

    id: str
    done: int
    total: int


class Status(BaseModel):
    """state: loading, ready or failed. message: what is being loaded, or why it failed.

    segmentors: what requests may name as segmentor_model. score_threshold: of requests that name none. onboarding:
    objects that requests named by path and that are not ready yet.
    """

    state: str
    message: str
    segmentor: str
    descriptor: str
    segmentors: list[str]
    score_threshold: float
    device: str
    objects: list[str]
    templates_loaded: int
    uptime_s: float
    queue_depth: int
    queue_size: int
    onboarding: list[OnboardingEntry] = []


class ObjectEntry(BaseModel):
    """One object that requests may ask for. uploaded: over HTTP, so that it can be deleted. size_m: sides of the box
    around its model, metres, so that wrong units are seen. warnings: doubts about its files."""

    id: str
    category_id: int
    templates: int
    uploaded: bool
    size_m: list[float] | None = None
    warnings: list[AnswerWarning] = []


class Objects(BaseModel):
    """version: counts changes."""

    objects: list[ObjectEntry]
    version: int


class Done(BaseModel):
    """What was done."""

    success: bool = True
    message: str
