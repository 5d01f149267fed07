"""A frame sent to a running ISM Server, whose response becomes the detections that the model would have given here."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import requests
import torch
from numpy.typing import NDArray
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from ism_ros.checks.input_warnings import InputWarning
from ism_ros.data.boxes import sam6d_xywh_to_xyxy
from ism_ros.data.detection_evidence import DetectionEvidence
from ism_ros.data.detections import Detections, RejectedDetection
from ism_ros.data.rle import decode_rle
from ism_ros.io.frame_files import FrameFileError, read_camera

CONNECT_TIMEOUT_S = 10.0
"""Longest wait for a connection, seconds."""
RESPONSE_TIMEOUT_S = 600.0
"""Longest wait for a response, seconds."""
MAX_WAIT_S = 600.0
"""Longest wait for a server that loads or is busy; checkpoints of a few GB on a slow disk are loaded within it."""
DEFAULT_RETRY_S = 2.0
"""Pause before the next try where a busy server does not say how long it should be, seconds."""


class ServerError(ValueError):
    """A server that cannot be reached or refuses the request; the message is one line that says what to do."""


@dataclass(frozen=True)
class RemoteServer:
    """A running ISM Server.

    Attributes:
        url: http://HOST:PORT.
        api_key: Its key; empty = none is sent.
        max_wait_s: Longest wait while it loads or is busy, seconds.
    """

    url: str
    api_key: str = ""
    max_wait_s: float = MAX_WAIT_S

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ServerError(f"--server {self.url} is no address: give one such as http://127.0.0.1:8002")

    def segment(
        self,
        rgb: Path,
        depth: Path | None,
        camera: Path,
        options: Mapping[str, Any],
        progress: Callable[[str], None] = lambda text: None,
    ) -> tuple[Detections, NDArray[np.uint8]]:
        """Have the server segment one frame.

        Args:
            rgb: File of the color image, sent as it is.
            depth: File of the depth image, sent as it is, or None.
            camera: File of the camera.
            options: Further fields of the JSON request, such as cad_path and object_ids.
            progress: Called with a line while the server is waited for.

        Returns:
            The detections on the CPU, and their overlay (H, W, 3) uint8 RGB.

        Raises:
            ServerError: The server cannot be reached, or refuses the request.
            FrameFileError: A file cannot be read.
        """
        intrinsics, depth_scale = read_camera(camera)
        form = {
            "cam_params": json.dumps({"cam_K": intrinsics.flatten().tolist(), "depth_scale": depth_scale}),
            "options": json.dumps({**options, "visualization": True}),
        }
        content = self._send({"rgb": rgb, **({} if depth is None else {"depth": depth})}, form, progress)
        overlay_rgb = _picture(content["visualization"])
        return detections_of(content, overlay_rgb.shape[0], overlay_rgb.shape[1]), overlay_rgb

    def _send(
        self, files: Mapping[str, Path], form: Mapping[str, str], progress: Callable[[str], None]
    ) -> dict[str, Any]:
        deadline_s = time.monotonic() + self.max_wait_s
        while True:
            response = self._post(files, form)
            if response.status_code == 200:
                return _fields(response)
            message = _message(response, self.url)
            # what is not worth a retry, such as models that cannot be loaded, gives 503 without Retry-After
            if response.status_code not in (429, 503) or "retry-after" not in response.headers:
                raise ServerError(message)
            pause_s = _pause_s(response)
            left_s = deadline_s - time.monotonic()
            if pause_s > left_s:
                raise ServerError(f"{message}; waited {self.max_wait_s:g} s: try again later")
            progress(f"waiting for the server: {message}; giving up in {left_s:.0f} s")
            time.sleep(pause_s)

    def _post(self, files: Mapping[str, Path], form: Mapping[str, str]) -> requests.Response:
        url = f"{self.url.rstrip('/')}/api/v1/inference/upload"
        headers = {"X-API-Key": self.api_key} if self.api_key else {}
        timeouts_s = CONNECT_TIMEOUT_S, RESPONSE_TIMEOUT_S
        with ExitStack() as opened:
            parts = {name: opened.enter_context(_opened(file)) for name, file in files.items()}
            try:
                # a key goes nowhere but to the server that was named
                return requests.post(
                    url, data=form, files=parts, headers=headers, timeout=timeouts_s, allow_redirects=False
                )
            except requests.RequestException as error:
                raise ServerError(_unsent(error, self.url)) from None


def detections_of(content: Mapping[str, Any], height: int, width: int) -> Detections:
    """Make detections of the response of /api/v1/inference.

    Args:
        content: The JSON.
        height: Of the image, pixels.
        width: Of the image, pixels.

    Returns:
        The detections on the CPU, row by row.
    """
    rows = content["detections"]
    if not rows:
        # older servers name it near_miss
        rejected = _rejected_detection(content.get("best_rejected") or content.get("near_miss"))
        nothing = replace(Detections.empty(height, width), best_rejected=rejected)
        return _with_times_and_warnings(nothing, content)
    category_of = {row["class_id"]: row["category_id"] for row in rows}
    ids = tuple(category_of)
    boxes_xyxy = torch.tensor([sam6d_xywh_to_xyxy(row["bbox"]) for row in rows], dtype=torch.int64)
    poses = [row["pose"] for row in rows]
    unknown = {"rotation": [float("nan")] * 9, "translation_m": [float("nan")] * 3}

    def numbers(name: str) -> torch.Tensor:
        return torch.tensor([row[name] for row in rows], dtype=torch.float32)

    def of_pose(name: str, *shape: int) -> torch.Tensor:
        return torch.tensor([(pose or unknown)[name] for pose in poses], dtype=torch.float32).reshape(-1, *shape)

    found = Detections(
        masks=torch.from_numpy(np.stack([decode_rle(row["segmentation"]) for row in rows])),
        boxes_xyxy=boxes_xyxy,
        object_index=torch.tensor([ids.index(row["class_id"]) for row in rows]),
        template_index=torch.tensor([row["template_index"] for row in rows]),
        score=numbers("score"),
        semantic_score=numbers("semantic_score"),
        appearance_score=numbers("appearance_score"),
        geometric_score=numbers("geometric_score"),
        visible_ratio=numbers("visible_ratio"),
        fit_score=numbers("fit_score"),
        rotation=of_pose("rotation", 3, 3),
        translation_m=of_pose("translation_m", 3),
        object_ids=ids,
        category_ids=tuple(category_of.values()),
        # older servers send none
        evidence=DetectionEvidence.from_records([row.get("evidence") for row in rows]),
    )
    return _with_times_and_warnings(found, content)


def _rejected_detection(row: Mapping[str, Any] | None) -> RejectedDetection | None:
    if row is None:
        return None
    return RejectedDetection(row["class_id"], row["score"], sam6d_xywh_to_xyxy(row["bbox"]))


def _with_times_and_warnings(detections: Detections, content: Mapping[str, Any]) -> Detections:
    detections.stage_s.update(content["stage_times"])
    warnings = [InputWarning(warning["reason"], warning["text"]) for warning in content.get("warnings", ())]
    return replace(detections, warnings=tuple(warnings))


def _fields(response: requests.Response) -> dict[str, Any]:
    try:
        content = response.json()
        if content["success"] and content["visualization"]:
            return dict(content)
    except (ValueError, TypeError, KeyError):
        pass
    raise ServerError(f"{response.url} answered what no ISM Server does: correct --server")


def _unsent(error: requests.RequestException, url: str) -> str:
    """Say in one line why there is no response at all."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(reason, (NewConnectionError, ConnectTimeoutError)):
        return f"no server answers at {url}: start one with 'ism serve', or correct --server"
    if isinstance(error, requests.Timeout):
        return f"{url} did not answer within {RESPONSE_TIMEOUT_S:g} s: its log says what it does"
    if isinstance(error, requests.exceptions.SSLError):
        return f"{url} cannot be reached safely ({reason or error}): correct --server or its certificate"
    return f"the connection to {url} broke off ({type(error).__name__}): its log says why"


def _message(response: requests.Response, url: str) -> str:
    """Say in one line why the server refused."""
    try:
        text = response.json()["error_message"]
    except (ValueError, TypeError, KeyError):
        return f"{url} answered {response.status_code} as no ISM Server does: correct --server"
    hint = "; give --api-key or set ISM_API_KEY" if response.status_code == 401 else ""
    return f"{url} answered {response.status_code}: {' '.join(str(text).split())}{hint}"


def _pause_s(response: requests.Response) -> float:
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except ValueError:  # a date, which HTTP allows as well
        return DEFAULT_RETRY_S


def _picture(encoded: str) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(base64.b64decode(encoded), dtype=np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ServerError("the server's overlay is no picture: its version may be another one")
    return np.asarray(image[:, :, ::-1], dtype=np.uint8)


def _opened(file: Path) -> BinaryIO:
    try:
        return file.open("rb")
    except OSError as error:
        raise FrameFileError(f"{file} cannot be read: {error.strerror}") from None
