"""docs/diagnostics.md and the code name the same reasons and the same values."""

import ast
import re
from pathlib import Path

import pytest

from ism_ros.node.camera_monitoring.camera_status import CameraStatus
from ism_ros.node.diagnostics.counters import FrameSnapshot, Latency
from ism_ros.node.diagnostics.status_messages import camera_values, segmentation_values
from ism_ros.node.event_log import EventSnapshot
from ism_ros.runtime.cache_folder import DAMAGED, NOT_WRITTEN

ROOT = Path(__file__).parents[4]
KINDS_OF_REASON = {
    "FrameError": "rejected",
    "InputWarning": "noticed",
    "DiagnosticEvent": "noticed",
    "count_event": "noticed",
}


def reasons_in_the_code() -> set[str]:
    """`rejected.` and `noticed.` before each word that is counted."""
    reasons = {f"noticed.{reason}" for reason in (NOT_WRITTEN, DAMAGED)}  # by way of log records
    for path in (ROOT / "ism_ros").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)):
                continue
            called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            key = KINDS_OF_REASON.get(called)
            first = node.args[0] if node.args else None
            if key and isinstance(first, ast.Constant):
                reasons.add(f"{key}.{first.value}")
    return reasons


def reasons_in(document: Path) -> set[str]:
    return set(re.findall(r"`((?:noticed|rejected)\.[a-z]\w*)`", document.read_text(encoding="utf-8")))


def test_each_reason_in_the_code_is_in_the_document():
    assert reasons_in_the_code() <= reasons_in(ROOT / "docs" / "diagnostics.md")


@pytest.mark.parametrize("document", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_each_reason_in_a_document_is_in_the_code(document):
    assert reasons_in(document) <= reasons_in_the_code()


def test_each_value_is_in_the_document():
    text = (ROOT / "docs" / "diagnostics.md").read_text(encoding="utf-8")
    frames = FrameSnapshot(latencies={"STAGE": Latency(1.0, 2.0)})
    events = EventSnapshot(rejected={"…": 1}, noticed={"…": 1})
    pairs = camera_values(CameraStatus(), events) + segmentation_values(frames, 0, 3)
    for key, _ in pairs:
        assert f"`{key}`" in text or f"`.{key.split('.')[-1]}`" in text, key
