"""Detections into messages: boxes, poses, masks, evidence, and the objects that were looked for."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from image_messages import HEIGHT, WIDTH
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from ism_ros.config.settings import Settings
from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.detection_evidence import DetectionEvidence
from ism_ros.data.detections import Detections
from ism_ros.data.rle import decode_rle
from ism_ros.node.conversion.image_conversion import rgb_from_message
from ism_ros.node.outputs.detection_messages import detection_array, image_message, mask_array, mask_image, vision_info
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.library import ObjectLibrary


@pytest.fixture
def detections():
    """Two overlapping instances; the second has no pose."""
    masks = torch.zeros((2, HEIGHT, WIDTH), dtype=torch.bool)
    masks[0, 1:4, 2:6] = True
    masks[1, 2:6, 4:8] = True
    rotation = torch.from_numpy(Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix()).float()
    return Detections(
        masks=masks,
        boxes_xyxy=boxes_from_masks(masks),
        object_index=torch.tensor([1, 0]),
        template_index=torch.tensor([7, 41]),
        score=torch.tensor([0.9, 0.6]),
        semantic_score=torch.tensor([0.8, 0.5]),
        appearance_score=torch.tensor([0.7, 0.4]),
        geometric_score=torch.tensor([0.6, 0.0]),
        visible_ratio=torch.tensor([0.5, 0.0]),
        rotation=torch.stack([rotation, torch.full((3, 3), torch.nan)]),
        translation_m=torch.tensor([[0.1, -0.2, 0.8], [torch.nan] * 3]),
        object_ids=("mug", "drill"),
        category_ids=(1, 2),
    )


HEADER = Header(frame_id="camera_color_optical_frame")


def test_a_detection_message_has_class_score_box_and_the_id_of_the_mask_image(detections):
    message = detection_array(detections, HEADER)
    first = message.detections[0]
    assert message.header == first.header == HEADER
    assert [d.id for d in message.detections] == ["1", "2"]
    assert first.results[0].hypothesis.class_id == "drill"
    assert first.results[0].hypothesis.score == pytest.approx(0.9)
    assert (first.bbox.center.position.x, first.bbox.center.position.y) == (3.5, 2.0)
    assert (first.bbox.size_x, first.bbox.size_y) == (4.0, 3.0)


def test_a_detection_message_has_the_coarse_pose_with_its_uncertainty(detections):
    result = detection_array(detections, HEADER).detections[0].results[0]
    q = result.pose.pose.orientation
    assert Rotation.from_quat([q.x, q.y, q.z, q.w]).as_euler("xyz", degrees=True) == pytest.approx(
        [10, 20, 30], abs=1e-3
    )
    position = result.pose.pose.position
    assert [position.x, position.y, position.z] == pytest.approx([0.1, -0.2, 0.8])
    assert np.diag(np.reshape(result.pose.covariance, (6, 6))).min() > 0


def test_a_detection_without_a_pose_says_so_in_its_covariance(detections):
    pose = detection_array(detections, HEADER).detections[1].results[0].pose
    assert pose.covariance[0] == -1
    assert np.isfinite([pose.pose.position.x, pose.pose.orientation.w]).all()


def test_the_mask_image_holds_the_ids_with_the_better_score_on_top(detections):
    message = mask_image(detections, HEADER)
    labels = np.frombuffer(message.data, "<u2").reshape(HEIGHT, WIDTH)
    assert (message.encoding, message.step, message.header) == ("mono16", 2 * WIDTH, HEADER)
    assert np.array_equal(labels == 1, detections.masks[0].numpy())
    assert np.array_equal(labels == 2, (detections.masks[1] & ~detections.masks[0]).numpy())


def test_instance_masks_stay_whole_where_they_overlap(detections):
    message = mask_array(detections, HEADER, inference_s=0.25)
    assert message.inference_time == pytest.approx(0.25)
    for row, instance in enumerate(message.instances):
        mask = decode_rle({"size": [instance.height, instance.width], "counts": instance.rle_counts})
        assert np.array_equal(mask, detections.masks[row].numpy())
    first = message.instances[0]
    assert (first.id, first.class_id, first.template_index) == (1, "drill", 7)
    parts = (first.score, first.semantic_score, first.appearance_score, first.geometric_score, first.visible_ratio)
    assert parts == pytest.approx((0.9, 0.8, 0.7, 0.6, 0.5))


def test_an_instance_has_its_evidence_and_none_where_it_was_not_verified(detections):
    numbers = torch.tensor([[0.5, 2.0], [torch.nan, torch.nan]])
    verified = replace(detections, evidence=DetectionEvidence(("outline_iou", "hidden"), numbers, -numbers))
    first, second = mask_array(verified, HEADER, 0.1).instances
    assert first.evidence_names == ["outline_iou", "hidden"]
    assert list(first.evidence_values) == [0.5, 2.0]
    assert list(first.evidence_contributions) == [-0.5, -2.0]
    assert [len(second.evidence_names), len(second.evidence_values), len(second.evidence_contributions)] == [0, 0, 0]


def test_no_detections_make_empty_messages():
    none = Detections.empty(HEIGHT, WIDTH)
    assert not detection_array(none, HEADER).detections
    assert not mask_array(none, HEADER, 0.1).instances
    assert set(mask_image(none, HEADER).data) == {0}


def test_an_image_message_reads_back_as_it_was(rgb):
    assert np.array_equal(rgb_from_message(image_message(rgb, "rgb8", HEADER)), rgb)


def test_vision_info_tells_the_objects_their_source_and_the_version():
    mug = KnownObject("mug", 5, torch.zeros(42, 4), torch.zeros(42, 1, 4), source="/cad/mug.ply")
    message = vision_info(ObjectLibrary().with_object(mug), Settings(objects_file="/cad/objects.yaml"), HEADER)
    database = json.loads(message.database_location)
    assert database["objects_file"] == "/cad/objects.yaml"
    assert database["objects"] == [{"id": "mug", "category_id": 5, "source": "/cad/mug.ply"}]
    assert message.database_version == 1
