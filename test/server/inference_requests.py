"""Requests to POST /api/v1/inference and its refusals."""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np
from server_process import Server

PATH = "/api/v1/inference"
FAILED = {"success": False, "detections": [], "scores": []}


def post(server: Server, body: Any) -> Any:
    with server.client() as client:
        return client.post(PATH, json=body)


def refused(server: Server, body: Any, status: int) -> str:
    answer = post(server, body)
    assert answer.status_code == status, answer.text
    content = answer.json()
    assert content.items() >= FAILED.items()
    return content["error_message"]


def png(image: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(".png", image)[1].tobytes()).decode()
