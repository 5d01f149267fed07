"""docs/diagnostics.md and the code say the same: each sentence of one is in the other, with its level and a remedy."""

import re
import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import trimesh
from diagnostic_msgs.msg import DiagnosticStatus
from spoilt_messages import small_frame, spoilt_frames

from ism_ros.cad.hole_filling import FilledHoles
from ism_ros.cad.mesh_loading import read_cad
from ism_ros.cad.units import size_warning
from ism_ros.checks.camera_checks import intrinsics_warnings
from ism_ros.checks.depth_checks import depth_encoding_warnings
from ism_ros.checks.image_checks import exposure_warnings
from ism_ros.checks.input_warnings import InputWarning
from ism_ros.data.detections import RejectedDetection
from ism_ros.errors import FrameError
from ism_ros.node.camera_monitoring.camera_status import CameraStatus
from ism_ros.node.camera_monitoring.dropped_messages import drop_remedy, dropped_message_events
from ism_ros.node.camera_monitoring.missing_frames import TopicState, two_publishers_event, why_no_frame
from ism_ros.node.conversion.frame_conversion import frame_from_messages
from ism_ros.node.conversion.rgbd_messages import DepthSource, RgbdMessages
from ism_ros.node.diagnostics.counters import FrameSnapshot
from ism_ros.node.diagnostics.summaries import (
    ObjectsStatus,
    SegmentationStatus,
    Summary,
    camera_summary,
    objects_summary,
    segmentation_summary,
)
from ism_ros.node.event_log import EventSnapshot
from ism_ros.node.execution.inference_failures import failure_text
from ism_ros.node.inputs.frame_subscriber import CAMERA_INFO_HELD, CLOCK_JUMP, TIME_JUMP
from ism_ros.objects.known_object import KnownObject
from ism_ros.registration.frame_registration import depth_not_registered_warning
from ism_ros.result_checks import size_checks
from ism_ros.result_checks.result_warnings import GRAY_IMAGE, NO_READING

ROOT = Path(__file__).parents[4]
LEVELS = {
    DiagnosticStatus.OK: "OK",
    DiagnosticStatus.WARN: "WARN",
    DiagnosticStatus.ERROR: "ERROR",
    DiagnosticStatus.STALE: "STALE",
}
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
SILENT = {"age_s": None, "stamps_s": ()}
UNPUBLISHED = {"publisher_types": (), **SILENT}
REMEDY = re.compile(
    r"\b(start|switch|set|run|give|check|publish|use|calibrate|subscribe|swapped\?|keep|close|lower|call|configure|"
    r"activate|remap|leave|play|stop|mend|add|synchronisation starts again)\b|swapped\?"
)


class Row(NamedTuple):
    part: str
    levels: tuple[str, ...]
    sentence: str
    counted_as: str
    meaning: str
    remedy: str

    def matches(self, summary: Summary) -> bool:
        pattern = ".*".join(re.escape(piece) for piece in self.sentence.split("…"))
        return LEVELS[summary.level] in self.levels and re.fullmatch(pattern, summary.text) is not None


def documented() -> list[Row]:
    lines = (ROOT / "docs" / "diagnostics.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return [
        Row(part, tuple(levels.split(", ")), sentence, counted, meaning, remedy)
        for part, levels, sentence, counted, meaning, remedy in (c for c in cells if len(c) == 6)
        if part in ("camera", "segmentation", "objects")
    ]


def doubts_of_messages() -> list[str]:
    """What is said of frames that can be used all the same."""
    stored = small_frame()
    gray, nameless, of_two = stored.messages(), stored.messages(), stored.messages()
    gray.rgb.encoding, gray.rgb.step = "mono8", 64
    gray.rgb.data = np.tile(np.arange(64, dtype=np.uint8), (48, 1)).tobytes()
    of_two.rgb.header.frame_id, of_two.depth.header.frame_id = "color", "depth"
    nameless.camera_info.d = [-0.3, 0.1, 0.0, 0.0, 0.0]
    mixed = [
        (True, DepthSource("/rgb/image_rect", "/depth/image_raw")),
        (False, DepthSource("/rgb/image_raw", "/depth/image_rect")),
    ]
    of_two.camera_info.p = [70.0, 0.0, 32.0, 0.0, 0.0, 70.0, 24.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    frames = [
        *(RgbdMessages(messages.rgb, messages.depth, messages.camera_info) for messages in (gray, of_two)),
        *(RgbdMessages(nameless.rgb, nameless.depth, nameless.camera_info, *how) for how in mixed),
    ]
    return [warning.text for messages in frames for warning in frame_from_messages(messages)[0].warnings]


def rejections() -> list[str]:
    texts = []
    for messages in spoilt_frames():
        try:
            frame_from_messages(messages)
        except FrameError as error:
            texts.append(str(error))
    # the node says this of a frame for a segmentor that needs depth
    return [*texts, "depth has no reading at all: check the depth camera and its range"]


def topics(rgb: dict, depth: dict, camera_info: dict) -> list[TopicState]:
    usual = {"expected_type": IMAGE, "publisher_types": (IMAGE,), "age_s": 0.1, "stamps_s": (50.0,)}
    given = {"rgb": rgb, "depth": depth, "camera_info": camera_info}
    return [TopicState(name, f"/camera/{name}", **{**usual, **known}) for name, known in given.items()]


REMEDIES = [
    drop_remedy(middleware, environment)
    for middleware, environment in (
        ("rmw_fastrtps_cpp", {}),
        ("rmw_fastrtps_cpp", {"FASTDDS_DEFAULT_PROFILES_FILE": "profile.xml"}),
        ("rmw_cyclonedds_cpp", {}),
        ("rmw_zenoh_cpp", {}),
    )
]
SILENCES = [
    topics(UNPUBLISHED, UNPUBLISHED, UNPUBLISHED),
    topics({}, UNPUBLISHED, {}),
    topics({"publisher_types": (COMPRESSED,), **SILENT}, {}, {}),
    topics({}, {"incompatible_policy": "reliability", **SILENT}, {}),
    topics({}, {"incompatible_policy": "durability", **SILENT}, {}),
    topics({}, {"publisher_types": (IMAGE, IMAGE), "publisher_nodes": ("/a", "/b"), "stamps_s": (3650.0,)}, {}),
    topics({"age_s": 9.0}, {"age_s": 9.0}, {"age_s": 9.0}),
    topics({"age_s": 9.0}, {}, {}),
    topics({}, {"stamps_s": (3650.0,)}, {}),
    topics({}, {"stamps_s": (50.1,)}, {}),
]


def doubts() -> list[InputWarning]:
    """What is odd about frames, and about objects beside frames."""
    good = spoilt_frames()[0]
    frame, _ = frame_from_messages(RgbdMessages(good.rgb, good.depth, good.camera_info))
    sizes_m = ([0.0, 0.0, 0.0], [50.0, 1.0, 1.0]), ([0.0, 0.0, 0.0], [0.0005, 0.0005, 0.0005])
    objects = [KnownObject("part", 1, torch.ones(1, 1), torch.ones(1, 1, 1), points_m=torch.tensor(m)) for m in sizes_m]
    matrices = ([20, 0, 10, 0, 20, 7.5, 0, 0, 1], [14, 0, 32, 0, 14, 24, 0, 0, 1], [60, 0, 4, 0, 60, 24, 0, 0, 1],
                [60, 0, 32, 0, 100, 24, 0, 0, 1], [60, 9, 32, 0, 60, 24, 0, 0, 1])  # fmt: skip
    return [
        *depth_encoding_warnings(np.full((48, 64), 700.0, np.float32), "32FC1"),
        *depth_encoding_warnings(np.full((48, 64), 1e9, np.float32), "16UC1"),
        *size_checks.object_size_warnings(frame, objects),
        *size_checks.found_size_warnings(torch.tensor([9.0, 11.0])),
        size_checks.scale_warning("mug", 0.7, 0.0, 0.1, 0.12),
        size_checks.scale_warning("mug", 0.7, 0.4, 0.1, 0.12),
        depth_not_registered_warning(1.55, (4.0, -2.0)),
        *(doubt for k in matrices for doubt in intrinsics_warnings(np.reshape(k, (3, 3)), 64, 48)),
    ]


def camera_summaries() -> list[Summary]:
    calm, plain = CameraStatus(had_frames=True, rate_hz=1.0, stamp_age_s=0.1), EventSnapshot()
    said = [camera_summary("inactive", CameraStatus(), plain)]
    said += [camera_summary("active", replace(calm, rate_hz=30.0, had_frames=had), plain) for had in (False, True)]
    for states in SILENCES:
        gone = all(state.is_missing(1.0) for state in states)
        for remedy, is_clock_standing in product(REMEDIES, (False, True)):
            problem = why_no_frame(states, 0.05, 1.0, remedy, is_clock_standing)
            said += [camera_summary("active", CameraStatus(problem, gone, had_frames=h), plain) for h in (False, True)]
    said += [
        camera_summary("active", calm, EventSnapshot(recent_rejection=text), every)
        for text in rejections()
        for every in (False, True)
    ]
    stamps_s = {"/rgb": np.arange(60) / 12, "/depth": np.arange(60) / 12, "/camera_info": np.arange(60) / 12}
    with_gaps = {**stamps_s, "/rgb": np.delete(stamps_s["/rgb"], np.s_[5:60:3])}
    half = {**stamps_s, "/depth": stamps_s["/depth"][::2]}
    warnings = [
        "/rgb has a negative stamp and is ignored: check the driver's clock",
        TIME_JUMP,
        CLOCK_JUMP,
        "/rgb repeats a stamp: two publishers on it, or a driver that does not set stamps: check for a second "
        "publisher; results of such frames cannot be told apart",
        "/rgb has stamps out of order: a frame older than the one before is left out; check for a second publisher on "
        "it",
        "a subscriber of /ism/detections demands a durability that is not offered, and gets nothing: change it "
        "there, or set qos_overrides./ism/detections.publisher.durability",
        CAMERA_INFO_HELD.format(topic="/camera_info"),
        two_publishers_event("/rgb", "rgb", ["/a/camera", "/b/camera"]).text,
        two_publishers_event("/rgb", "rgb", ["/a/camera", "/a/camera"]).text,
        *doubts_of_messages(),
        "depth has negative readings (3% of this frame), taken as no reading: check the depth driver",
        *(warning.text for warning in doubts()),
        GRAY_IMAGE.text,
        NO_READING.text,
        *(doubt.text for gray in (0, 255) for doubt in exposure_warnings(np.full((48, 64, 3), gray, np.uint8))),
        "nothing was found, but 9 regions of the size of the objects are left out as too small, the largest with 90 "
        "pixels, less than 100 pixels: lower min_mask_pixels, go nearer, or take pictures of a higher resolution",
        *(f"3 messages on /rgb were lost in the transport: {remedy}" for remedy in REMEDIES),
        *(event.text for remedy in REMEDIES for event in dropped_message_events(with_gaps, 30, 0.05, remedy)),
        *(event.text for event in dropped_message_events(half, 30, 0.05, "")),
        *(event.text for event in dropped_message_events(stamps_s, 30, 0.05, "")),
    ]
    said += [camera_summary("active", calm, EventSnapshot(recent_warning=text)) for text in warnings]
    return said + [camera_summary("active", replace(calm, stamp_age_s=age_s), plain) for age_s in (3600.0, -3600.0)]


def segmentation_summaries() -> list[Summary]:
    one, miss = FrameSnapshot(processed=1, rate_hz=3.0), RejectedDetection("mug", 0.48, (0, 0, 9, 9))
    failures = [failure_text(error) for error in (torch.OutOfMemoryError("CUDA out of memory"), ValueError("odd"))]
    duplicate_name = (
        "2 nodes are called /ism and answer each other's services: end one of them, or give it another name "
        "(-r __node:=...) or namespace (-r __ns:=/...); one that was killed counts for some seconds still"
    )
    active, events, none = SegmentationStatus("active"), EventSnapshot(), FrameSnapshot()
    return [
        segmentation_summary(SegmentationStatus("unconfigured"), events, none),
        segmentation_summary(SegmentationStatus("active", duplicate_name=duplicate_name), events, one),
        segmentation_summary(
            SegmentationStatus("unconfigured", load_error="objects file a.yaml does not exist"), events, one
        ),
        segmentation_summary(SegmentationStatus("configuring", "object 1 of 2: mug"), events, none),
        segmentation_summary(SegmentationStatus("inactive"), events, one),
        segmentation_summary(active, events, none),
        segmentation_summary(SegmentationStatus("active", no_frames=True), events, one),
        segmentation_summary(active, events, one),
        segmentation_summary(active, events, replace(one, best_rejected=miss)),
        segmentation_summary(SegmentationStatus("active", busy_s=99.0), events, one),
        segmentation_summary(active, events, FrameSnapshot(recent_recovery=True)),
        *(segmentation_summary(active, EventSnapshot(recent_failure=text), none) for text in failures),
    ]


def doubts_of_objects() -> list[str]:
    """What reading CAD files doubts, as onboarding says it."""
    box = trimesh.creation.box((100, 60, 40))
    ply = b"ply\nformat ascii 1.0\ncomment TextureFile gone.png\nelement vertex 3\nproperty float x\nproperty float y\n"
    ply += b"property float z\nelement face 1\nproperty list uchar int vertex_indices\nend_header\n"
    ply += b"0 0 0\n100 0 0\n0 100 0\n3 0 1 2\n"
    red = box.copy()
    red.visual.vertex_colors = [200, 0, 0, 255]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("mug.stl", "mug.ply", "red.ply")]
        for file, content in zip(files, (box.export(file_type="stl"), ply, red.export(file_type="ply")), strict=True):
            file.write_bytes(content)
        models = [read_cad(file, units) for file, units in zip(files, ("mm", "mm", "cm"), strict=True)]
        tiny = read_cad(files[2], "mm").mesh.extents / 100
    size = size_warning(tiny.tolist(), "mm")
    torn = FilledHoles(count=1234, open_edge_ratio=0.12).text
    texts = [warning.text for model in models for warning in model.warnings] + [str(size), torn]
    return [f"object 'mug' (mug.ply): {text}" for text in texts]


def objects_summaries() -> list[Summary]:
    problems = [
        "changes of mug are not saved (No space left on device: /o.yaml): trying again; free space, or mend what "
        "hinders it",
        "/o.yaml was edited or replaced after it was read, which this node does not follow: deactivate, clean up, "
        "configure and activate it to use what is there now",
        "cannot keep files in /cache (No space left on device); going on without: free space, or set cache_dir; "
        "until then every start renders again",
    ]
    failures = [
        "object 'mug' was not added: CAD file mug.ply does not exist; mend that and call ~/add_object again",
        "object 'mug' could not be onboarded: IndexError: 7; check its CAD file in a viewer, then call ~/add_object "
        "again",
    ]
    mug, events = ObjectsStatus("active", ["mug"]), EventSnapshot()
    return [
        objects_summary(ObjectsStatus("unconfigured"), events),
        objects_summary(ObjectsStatus("active"), events),
        objects_summary(mug, events),
        objects_summary(ObjectsStatus("active", [str(number) for number in range(40)]), events),
        objects_summary(replace(mug, progress="adding duck, template 3 of 42"), events),
        *(objects_summary(mug, EventSnapshot(recent_object_failure=text)) for text in failures),
        *(objects_summary(replace(mug, problem=text), events) for text in problems),
        *(objects_summary(replace(mug, warnings=[text]), events) for text in doubts_of_objects()),
    ]


SAID = [
    (part, summary)
    for part, make in (
        ("camera", camera_summaries),
        ("segmentation", segmentation_summaries),
        ("objects", objects_summaries),
    )
    for summary in make()
]


@pytest.mark.parametrize(("part", "summary"), SAID, ids=[f"{part}: {v.text[:60]}" for part, v in SAID])
def test_each_sentence_is_in_the_table_at_its_level(part, summary):
    rows = [row for row in documented() if row.part == part and row.sentence != "…" and row.matches(summary)]
    general = [row for row in documented() if row.part == part and row.sentence == "…" and row.matches(summary)]
    assert len(rows) == 1 or (not rows and len(general) == 1), f"{LEVELS[summary.level]}: {summary.text}: {rows}"


@pytest.mark.parametrize("row", documented(), ids=lambda row: f"{row.part}: {row.sentence[:60]}")
def test_each_row_of_the_table_is_said_at_each_of_its_levels(row):
    said = {LEVELS[summary.level] for part, summary in SAID if part == row.part and row.matches(summary)}
    assert said >= set(row.levels)


@pytest.mark.parametrize(
    ("part", "summary"),
    [(part, summary) for part, summary in SAID if LEVELS[summary.level] != "OK"],
    ids=lambda value: value if isinstance(value, str) else value.text[:60],
)
def test_each_fault_is_one_line_that_names_a_remedy(part, summary):
    assert "\n" not in summary.text
    what, _, to_do = summary.text.partition(": ")
    assert what
    assert REMEDY.search(to_do), summary.text
