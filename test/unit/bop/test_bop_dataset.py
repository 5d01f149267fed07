"""BOP datasets as they are on disk, and one line for each way in which one can be broken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from ism_ros.bop.dataset import ImageKey, open_dataset
from ism_ros.bop.files import BopFileError
from ism_ros.bop.ground_truth import missing_truth, read_ground_truth


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_targets_name_the_images_scene_by_scene(tiny: Path) -> None:
    dataset = open_dataset(tiny)
    assert dataset.images == (ImageKey(2, 3), ImageKey(1, 0), ImageKey(1, 7))
    assert dataset.scene_ids() == (2, 1)
    assert dataset.targets == tiny / "test_targets_bop19.json"


def test_a_limit_takes_the_first_images(tiny: Path) -> None:
    assert open_dataset(tiny, limit=2).images == (ImageKey(2, 3), ImageKey(1, 0))


def test_targets_of_bop24_are_read_where_there_are_none_of_bop19(tiny: Path) -> None:
    (tiny / "test_targets_bop19.json").unlink()
    (tiny / "test_targets_bop24.json").write_text(json.dumps([{"scene_id": 1, "im_id": 7}]))
    assert open_dataset(tiny).images == (ImageKey(1, 7),)


def test_a_list_of_targets_may_be_named_as_it_is_called_in_the_dataset(tiny: Path) -> None:
    (tiny / "few.json").write_text(json.dumps([{"scene_id": 2, "im_id": 3}]))
    assert open_dataset(tiny, targets=Path("few.json")).images == (ImageKey(2, 3),)


def test_without_targets_all_images_count(tiny: Path) -> None:
    (tiny / "test_targets_bop19.json").unlink()
    dataset = open_dataset(tiny)
    assert dataset.targets is None
    assert dataset.images == (ImageKey(1, 0), ImageKey(1, 7), ImageKey(2, 3))


def test_models_become_objects_in_millimetres_with_their_numbers(tiny: Path) -> None:
    specs = open_dataset(tiny).object_specs()
    assert [(spec.id, spec.category_id, spec.units) for spec in specs] == [
        ("obj_000001", 1, "mm"),
        ("obj_000002", 2, "mm"),
    ]
    assert specs[1].cad == tiny / "models" / "obj_000002.ply"


def test_depth_times_its_scale_is_millimetres(tiny: Path) -> None:
    frame = open_dataset(tiny).scene(1).frame(7)
    assert frame.depth_m is not None
    np.testing.assert_allclose(frame.depth_m, 0.75, rtol=1e-6)
    assert frame.camera.fx == 30
    assert frame.rgb[0, 0].tolist() == [30, 20, 10]


@pytest.mark.parametrize(("folder", "suffix"), [("rgb", "jpg"), ("gray", "png"), ("gray", "tif")])
def test_images_may_be_gray_jpeg_or_tiff(tiny: Path, folder: str, suffix: str) -> None:
    scene = tiny / "test" / "000002"
    shutil.rmtree(scene / "rgb")
    (scene / folder).mkdir()
    gray = np.full((24, 32) if folder == "gray" else (24, 32, 3), 90, np.uint8)
    cv2.imwrite(str(scene / folder / f"000003.{suffix}"), gray)
    rgb = open_dataset(tiny).scene(2).frame(3).rgb
    assert rgb.shape == (24, 32, 3)
    assert abs(int(rgb.mean()) - 90) <= 1


def test_images_without_depth_are_frames_without_depth(tiny: Path) -> None:
    shutil.rmtree(tiny / "test" / "000002" / "depth")
    assert open_dataset(tiny).scene(2).frame(3).depth_m is None


def test_a_sensor_has_its_own_files(tiny: Path) -> None:
    for scene in (tiny / "test").iterdir():
        for name in ("rgb", "depth", "mask", "mask_visib"):
            (scene / name).rename(scene / f"{name}_cam1")
        for name in ("scene_camera", "scene_gt", "scene_gt_info"):
            (scene / f"{name}.json").rename(scene / f"{name}_cam1.json")
    with pytest.raises(BopFileError, match=r"scene_camera\.json does not exist; choose .* --sensor cam1"):
        open_dataset(tiny)
    dataset = open_dataset(tiny, sensor="cam1")
    assert dataset.scene(1).frame(0).rgb.shape == (24, 32, 3)
    assert len(read_ground_truth(dataset).instances) == 6


def test_the_only_test_folder_with_a_kind_is_found(tiny: Path) -> None:
    (tiny / "test").rename(tiny / "test_primesense")
    assert open_dataset(tiny).split == "test_primesense"
    assert open_dataset(tiny).targets is not None


def test_true_instances_have_visible_masks_and_amodal_boxes(tiny: Path) -> None:
    truth = read_ground_truth(open_dataset(tiny))
    behind, front = [instance for instance in truth.instances if instance.image == ImageKey(1, 7)]
    assert (behind.object_id, behind.area, behind.box_xywh) == (1, 32, (2, 3, 8, 8))
    assert behind.visible_box_xywh == (2, 3, 4, 8)
    assert (front.object_id, front.area, front.visible_share) == (2, 64, 1.0)
    assert truth.sizes[ImageKey(1, 7)] == (24, 32)


def test_instances_less_than_a_tenth_visible_are_ignored(tiny: Path) -> None:
    def hide(infos) -> None:
        infos["0"][0]["visib_fract"] = 0.0999
        infos["7"][0]["visib_fract"] = 0.1

    edit(tiny / "test" / "000001" / "scene_gt_info.json", hide)
    instances = read_ground_truth(open_dataset(tiny)).instances
    assert [i.image for i in instances if i.ignored] == [ImageKey(1, 0)]


def test_an_instance_without_a_visible_pixel_is_none(tiny: Path) -> None:
    cv2.imwrite(str(tiny / "test" / "000002" / "mask_visib" / "000003_000000.png"), np.zeros((24, 32), np.uint8))
    instances = read_ground_truth(open_dataset(tiny)).instances
    assert [i.object_id for i in instances if i.image.scene_id == 2] == [2]


def test_a_test_split_without_truth_can_still_be_searched(tiny: Path) -> None:
    assert missing_truth(open_dataset(tiny)) == ""
    (tiny / "test" / "000002" / "scene_gt.json").unlink()
    assert "000002 has no scene_gt.json" in missing_truth(open_dataset(tiny))


def broken(name: str, dataset: Path) -> None:
    """Breaks one thing of a dataset."""
    scene = dataset / "test" / "000002"
    actions = {
        "no dataset": lambda: shutil.rmtree(dataset),
        "no split": lambda: shutil.rmtree(dataset / "test"),
        "no models": lambda: shutil.rmtree(dataset / "models"),
        "no model": lambda: (dataset / "models" / "obj_000002.ply").unlink(),
        "models_info is no JSON": lambda: (dataset / "models" / "models_info.json").write_text("{"),
        "models_info has names": lambda: (dataset / "models" / "models_info.json").write_text('{"mug": {}}'),
        "targets are a mapping": lambda: (dataset / "test_targets_bop19.json").write_text("{}"),
        "targets are empty": lambda: (dataset / "test_targets_bop19.json").write_text("[]"),
        "target without image": lambda: edit(dataset / "test_targets_bop19.json", lambda t: t[1].pop("im_id")),
        "target of no model": lambda: edit(dataset / "test_targets_bop19.json", lambda t: t[1].update(obj_id=9)),
        "no scene": lambda: shutil.rmtree(scene),
        "no image": lambda: (scene / "rgb" / "000003.png").unlink(),
        "no camera": lambda: edit(scene / "scene_camera.json", lambda c: c.clear()),
        "camera of 8 numbers": lambda: edit(scene / "scene_camera.json", lambda c: c["3"]["cam_K"].pop()),
        "depth scale 0": lambda: edit(scene / "scene_camera.json", lambda c: c["3"].update(depth_scale=0)),
        "no poses of the image": lambda: edit(scene / "scene_gt.json", lambda g: g.clear()),
        "one detail too few": lambda: edit(scene / "scene_gt_info.json", lambda g: g["3"].pop()),
        "no visible share": lambda: edit(scene / "scene_gt_info.json", lambda g: g["3"][0].clear()),
        "no mask": lambda: (scene / "mask_visib" / "000003_000001.png").unlink(),
        "no amodal mask": lambda: (scene / "mask" / "000003_000001.png").unlink(),
        "mask of another size": lambda: cv2.imwrite(str(scene / "mask" / "000003_000001.png"), np.ones((9, 9))),
        "mask is text": lambda: (scene / "mask" / "000003_000001.png").write_text("hello"),
    }
    actions[name]()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no dataset", "tiny is not a folder"),
        ("no split", "has no folder 'test'"),
        ("no models", "no folder models or"),
        ("no model", "obj_000002.ply does not exist"),
        ("models_info is no JSON", "models_info.json is not JSON"),
        ("models_info has names", "models_info.json: key 'mug' is no number"),
        ("targets are a mapping", "test_targets_bop19.json is a JSON dict; expected a list"),
        ("targets are empty", "test_targets_bop19.json names no image"),
        ("target without image", "test_targets_bop19.json: entry 1 has no 'im_id'"),
        ("target of no model", "test_targets_bop19.json: entry 1 is object 9"),
        ("no scene", "scene_camera.json does not exist"),
        ("no image", "image 000003 is neither in"),
        ("no camera", "scene_camera.json has no entry for image 3"),
        ("camera of 8 numbers", "scene_camera.json: image 3: 'cam_K' cannot be"),
        ("depth scale 0", "scene_camera.json: image 3: depth_scale is 0"),
        ("no poses of the image", "scene_gt.json has no list of instances for image 3"),
        ("one detail too few", "scene_gt_info.json: image 3 has 1 instances"),
        ("no visible share", "scene_gt_info.json: image 3, instance 0 has no 'visib_fract'"),
        ("no mask", "mask_visib/000003_000001.png cannot be read"),
        ("no amodal mask", "mask/000003_000001.png cannot be read"),
        ("mask of another size", "mask/000003_000001.png is 9 x 9 pixels; others of its image are 32 x 24"),
        ("mask is text", "mask/000003_000001.png is not an image"),
    ],
)
def test_what_is_broken_is_named_in_one_line(tiny: Path, name: str, said: str) -> None:
    broken(name, tiny)
    with pytest.raises(BopFileError) as caught:
        read_ground_truth(open_dataset(tiny))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
