"""Requests and answers as clients see them; /docs and /openapi.json are made of these."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, PositiveFloat


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


class InferenceRequest(BaseModel):
    """One frame, and what to look for in it: template_dir and cad_path, or object_ids, or what the server has."""

    model_config = ConfigDict(extra="ignore")

    rgb_image: str = Field(description="PNG or JPEG in base64; a data-URL prefix is allowed.")
    depth_image: str | None = Field(None, description="16-bit PNG in base64, registered to rgb_image.")
    cam_params: CameraParameters
    segmentor_model: str | None = Field(None, description="sam, sam2, fastsam or depth, instead of the server's own.")
    stability_score_thresh: float | None = Field(None, ge=0, le=1, description="Least stability of a mask of SAM.")
    template_dir: str | None = Field(None, description="SAM-6D template folder, relative to ISM_DATA_ROOT.")
    cad_path: str | None = Field(None, description="CAD file, relative to ISM_DATA_ROOT.")
    cad_units: str | None = Field(
        None, pattern="^(mm|m)$", description="Units of the CAD file; else glTF m, others mm."
    )
    object_ids: list[str] | None = Field(None, max_length=10_000, description="Only these of the server's objects.")
    score_threshold: float | None = Field(None, ge=0, le=1, description="Least final score of a detection.")
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
    """One instance. bbox: x, y, width, height, pixels. pose: None where there is no depth or no template pose."""

    category_id: int
    class_id: str
    score: float
    semantic_score: float
    appearance_score: float
    geometric_score: float
    visible_ratio: float
    bbox: list[int]
    segmentation: Rle
    template_index: int
    pose: Pose | None


class InferenceAnswer(BaseModel):
    """The answer to every request, good or bad; error_message is None where success is true.

    inference_time: seconds of the models. stage_times: seconds of each stage, in order.
    """

    success: bool
    detections: list[Detection] = []
    scores: list[float] = []
    inference_time: float = 0.0
    stage_times: dict[str, float] = {}
    visualization: str | None = None
    template_dir_used: str | None = None
    cad_path_used: str | None = None
    error_message: str | None = None


class Health(BaseModel):
    status: str = "healthy"
    version: str


class Status(BaseModel):
    """state: loading, ready or failed. message: what is being loaded, or why it failed.

    segmentors: what requests may name as segmentor_model. score_threshold: of requests that name none.
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


class ObjectEntry(BaseModel):
    """One object that requests may ask for. uploaded: over HTTP, so that it can be deleted"""

    id: str
    category_id: int
    templates: int
    uploaded: bool


class Objects(BaseModel):
    """version: counts changes."""

    objects: list[ObjectEntry]
    version: int


class Done(BaseModel):
    """What was done."""

    success: bool = True
    message: str
