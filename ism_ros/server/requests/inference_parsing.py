"""From the fields and images of an inference request to an `InferenceInput`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ism_ros.cad.colors import parse_color
from ism_ros.server.errors import RequestError
from ism_ros.server.requests.data_directories import DataDirectories
from ism_ros.server.requests.images import DEPTH_FORMATS, RGB_FORMATS, check_image, decode_base64
from ism_ros.server.requests.inference_input import InferenceInput
from ism_ros.server.requests.json_bodies import parse_json
from ism_ros.server.requests.path_object import PathObject
from ism_ros.server.schemas import InferenceRequest
from ism_ros.server.settings import ServerSettings


def parse_form(cam_params: str, options: str) -> InferenceRequest:
    """Read an inference request whose images come as files.

    Args:
        cam_params: JSON object with the camera.
        options: JSON object with further fields of the request.

    Returns:
        The request, without images.

    Raises:
        RequestError: 413 or 422 where they cannot be used.
    """
    try:
        camera = parse_json(cam_params.encode(), "cam_params")
        fields = {**parse_json(options.encode(), "options"), "cam_params": camera}
    except (ValueError, TypeError) as error:
        raise RequestError(422, f"cam_params and options must be JSON objects: {error}") from None
    return parse_fields(fields, "cam_params or options")


def parse_fields(fields: dict[str, Any], what: str) -> InferenceRequest:
    """Validate the fields of an inference request whose images do not come in the JSON.

    Args:
        fields: All fields but the images.
        what: Where the fields are from, for error messages.

    Returns:
        The request, without images.

    Raises:
        RequestError: 422 where a field cannot be used.
    """
    try:
        return InferenceRequest.model_validate({**fields, "rgb_image": "", "depth_image": None})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RequestError(422, f"{what} cannot be used: {place}: {first['msg'].lower()}") from None


class InputParser:
    """Checks inference requests and makes them inputs of the model."""

    def __init__(self, directories: DataDirectories, uploads: Path, server: ServerSettings) -> None:
        """Initialize.

        Args:
            directories: Folders that paths of requests may lie in.
            uploads: Folder of uploaded objects.
            server: Limits and defaults.
        """
        self._directories = directories
        self._uploads = uploads
        self._server = server

    def default_object(self) -> PathObject | None:
        """Return the object of requests that name none, from ISM_TEMPLATE_DIR and ISM_CAD_MODEL_PATH, or None."""
        folder, cad = self._server.template_dir, self._server.cad_model_path
        if not folder and not cad:
            return None
        first = self._directories.first
        return PathObject(first / folder if folder else None, first / cad if cad else None)

    def from_json(self, request: InferenceRequest) -> InferenceInput:
        """Check a request with images in base64.

        Args:
            request: The request.

        Returns:
            The model's input.

        Raises:
            RequestError: The request cannot be used; the status says how.
        """
        depth = None if request.depth_image is None else decode_base64(request.depth_image, "depth_image")
        return self.from_images(request, decode_base64(request.rgb_image, "rgb_image"), depth)

    def from_images(self, request: InferenceRequest, rgb: bytes, depth: bytes | None) -> InferenceInput:
        """Check a request with images as files.

        Args:
            request: The other fields.
            rgb: The color image, PNG or JPEG.
            depth: The depth image, 16-bit PNG, or None.

        Returns:
            The model's input.

        Raises:
            RequestError: The request cannot be used; the status says how.
        """
        # paths first: they cost nothing
        path_object = self._path_object(request)
        if path_object is not None and request.object_ids is not None and (request.template_dir or request.cad_path):
            raise RequestError(400, "send object_ids, or template_dir and cad_path, not both")
        output_dir = self._directories.inside(request.output_dir, "output_dir") if request.output_dir else None
        server = self._server
        check_image(rgb, "rgb_image", server.max_pixels, RGB_FORMATS)
        if depth is not None:
            check_image(depth, "depth_image", server.max_pixels, DEPTH_FORMATS)
        return InferenceInput(
            rgb=rgb,
            depth=depth,
            intrinsics=tuple(request.cam_params.cam_K),
            depth_scale=request.cam_params.depth_scale,
            max_pixels=server.max_pixels,
            path_object=None if request.object_ids is not None else path_object,
            object_ids=None if request.object_ids is None else tuple(request.object_ids),
            segmentor=request.segmentor_model,
            stability_score_threshold=request.stability_score_thresh,
            score_threshold=request.score_threshold,
            min_mask_pixels=request.min_mask_pixels,
            output_dir=output_dir,
            visualization=server.visualization if request.visualization is None else request.visualization,
        )

    def _path_object(self, request: InferenceRequest) -> PathObject | None:
        """Return the object that a request names by path, or the server's own where it names none."""
        if not request.template_dir and not request.cad_path:
            return self.default_object()
        cad = self._directories.existing(request.cad_path, "cad_path") if request.cad_path else None
        folder = self._directories.existing(request.template_dir, "template_dir") if request.template_dir else None
        return PathObject(
            folder,
            cad,
            request.cad_units,
            root=None if cad is None else self._root_of(cad),
            cad_color=None if request.cad_color is None else parse_color(request.cad_color),
        )

    def _root_of(self, cad: Path) -> Path:
        """Return where files may lie that a CAD file names: in its own folder, where clients uploaded it."""
        uploads = self._uploads.resolve()
        return cad.parent if cad.is_relative_to(uploads) else self._directories.holding(cad)
