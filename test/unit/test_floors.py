"""Imports run one way: porches on rooms, rooms on the ground floor, nothing below a porch knows ROS."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "ism_ros"
PORCHES = {"node", "server", "cli", "sim"}
FLOOR = {"threads": 0, "frame": 0, "input_warnings": 0, "camera_checks": 0, "camera_files": 0,
         "image_checks": 0, "depth_checks": 0,
         "image_decoding": 0, "masks": 0, "scoring": 0, "scoring_noctis": 0,
         "scoring_metric": 0, "views": 0, "detections": 0,
         "frame_files": 0, "pose": 0, "tracking": 0, "small_proposals": 0,
         "results": 0, "overlay": 0, "checkpoints": 0, "chunks": 0, "precision": 0, "weights": 0,
         "weights_check": 0, "download": 0, "health": 0, "tiny_weights": 0,
         "segmentors": 1, "descriptors": 1, "objects": 1, "bop": 1, "config": 2, "size_checks": 2,
         "ism": 3, "known_answer": 3,
         "node": 4, "server": 4, "cli": 4, "sim": 4}  # fmt: skip
PORCH_LIBRARIES = {"rclpy", "fastapi", "typer", "sensor_msgs", "vision_msgs", "message_filters", "cv_bridge", "ray"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            if node.module == "ism_ros":
                names |= {f"ism_ros.{alias.name}" for alias in node.names}
    return names


def room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "ism_ros" and len(parts) > 1 else None


SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in FLOOR)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for module in imported(path):
        there = room(module)
        if there is None or there == here or there in ("msg", "srv", "__version__"):
            continue
        assert FLOOR[there] <= FLOOR[here], f"{here} imports {module}"
        assert not {here, there} <= PORCHES, f"the porch {here} imports the porch {there}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_porches_know_their_libraries(path: Path) -> None:
    if path.relative_to(PACKAGE).parts[0] not in PORCHES:
        assert not {module.split(".")[0] for module in imported(path)} & PORCH_LIBRARIES
