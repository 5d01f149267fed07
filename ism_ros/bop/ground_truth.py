"""True instances in the images of a dataset, by the rules of BOP's 2D tasks.

An instance is its visible mask. Its box is amodal: that of the whole silhouette within the image. Instances less than
10 % visible are ignored: finding them is neither right nor wrong. Instances with no visible pixel do not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from ism_ros.bop.dataset import BopDataset, BopScene, ImageKey
from ism_ros.bop.files import BopFileError, Fields, numbered, pick_fields, read_json, read_mask
from ism_ros.data.boxes import mask_to_xywh
from ism_ros.data.rle import encode_rle

MIN_VISIBLE_FRACTION = 0.1
"""Visible fraction below which instances are ignored."""

Box = tuple[float, float, float, float]
"""x, y, width, height, pixels."""


@dataclass(frozen=True)
class TrueInstance:
    """One instance of an object in one image.

    Attributes:
        image: The image.
        object_id: Number of the object.
        mask: Compressed COCO RLE of its visible part.
        area: Pixels of its visible part.
        box_xywh: First column and row, width and height in pixels, of the whole silhouette.
        ignored: Whether finding it is neither right nor wrong.
        visible_share: Visible fraction of the silhouette, 0 to 1; NaN where the dataset does not say.
    """

    image: ImageKey
    object_id: int
    mask: dict[str, Any]
    area: int
    box_xywh: Box
    ignored: bool
    visible_share: float

    @property
    def visible_box_xywh(self) -> Box:
        """Box of the visible part."""
        return tuple(float(side) for side in coco_mask.toBbox(self.mask))  # type: ignore[return-value]


@dataclass(frozen=True)
class GroundTruth:
    """All instances in the images of a dataset.

    Attributes:
        images: Those to be judged, in the dataset's order.
        sizes: (height, width) of each image.
        instances: In the order of their images.
    """

    images: tuple[ImageKey, ...]
    sizes: dict[ImageKey, tuple[int, int]]
    instances: tuple[TrueInstance, ...]


def missing_truth(dataset: BopDataset) -> str:
    """Tell what is missing to judge what is found in the images of a dataset.

    Of some test splits only the benchmark's server knows the truth, and renderers write scene_gt.json alone.

    Args:
        dataset: The dataset.

    Returns:
        A phrase that names the first scene at fault and, where there is one, the script of the BOP toolkit that makes
        what it lacks; empty where nothing is missing.

    Raises:
        BopFileError: A scene_gt.json cannot be used.
    """
    for scene_id in dataset.scene_ids():
        scene = dataset.scene(scene_id)
        wanted = [image for image in dataset.images if image.scene_id == scene_id]
        if _from_coco(scene, wanted) is not None:
            continue
        if not scene.json("scene_gt").is_file():
            return f"{scene.folder} has no {scene.json('scene_gt').name}"
        instances = _per_image(scene, "scene_gt")
        shown = [image.image_id for image in wanted if instances.get(image.image_id)]
        masks = {
            scene.mask(kind, 0, 0).parent.name
            for kind in ("mask", "mask_visib")
            if shown and not any(scene.mask(kind, image_id, 0).is_file() for image_id in shown)
        }
        without_info = not scene.json("scene_gt_info").is_file()
        lacks = [*sorted(masks), *[scene.json("scene_gt_info").name] * without_info]
        scripts = ["calc_gt_masks.py"] * bool(masks) + ["calc_gt_info.py"] * without_info
        if lacks:
            return (
                f"{scene.folder} has {scene.json('scene_gt').name} but no {', '.join(lacks)}, which "
                f"{' and '.join(scripts)} of the BOP toolkit make{'s' * (len(scripts) == 1)} from it"
            )
    return ""


def read_ground_truth(dataset: BopDataset, progress: Callable[[int, int], None] | None = None) -> GroundTruth:
    """Read the truth of all images of a dataset.

    Taken from a scene's scene_gt_coco.json where that has all its images, as the BOP toolkit does, or else from
    scene_gt.json, scene_gt_info.json, mask/ and mask_visib/.

    Args:
        dataset: The dataset.
        progress: Called with the numbers of images read and of all images.

    Returns:
        The truth.

    Raises:
        BopFileError: A file is missing or cannot be used.
    """
    sizes: dict[ImageKey, tuple[int, int]] = {}
    instances: list[TrueInstance] = []
    for scene_id in dataset.scene_ids():
        scene = dataset.scene(scene_id)
        wanted = [image for image in dataset.images if image.scene_id == scene_id]
        from_coco = _from_coco(scene, wanted)
        if from_coco is not None:
            sizes.update(from_coco[0])
            instances += from_coco[1]
        else:
            poses, infos = _per_image(scene, "scene_gt"), _per_image(scene, "scene_gt_info")
            for image in wanted:
                size, found = _from_masks(scene, image, poses, infos)
                sizes[image] = size
                instances += found
                _tell(progress, len(sizes), dataset)
        _tell(progress, len(sizes), dataset)
    return GroundTruth(dataset.images, sizes, tuple(instances))


def _tell(progress: Callable[[int, int], None] | None, done: int, dataset: BopDataset) -> None:
    if progress is not None:
        progress(done, len(dataset.images))


def _per_image(scene: BopScene, name: str) -> dict[int, Any]:
    path = scene.json(name)
    return numbered(path, read_json(path, dict, "a list of instances for each image"))


def _from_masks(
    scene: BopScene, image: ImageKey, poses: dict[int, Any], infos: dict[int, Any]
) -> tuple[tuple[int, int], list[TrueInstance]]:
    """Size and instances of one image."""
    for content, name in ((poses, "scene_gt"), (infos, "scene_gt_info")):
        if not isinstance(content.get(image.image_id), list):
            raise BopFileError(f"{scene.json(name)} has no list of instances for image {image.image_id}")
    entries, details = poses[image.image_id], infos[image.image_id]
    if len(entries) != len(details):
        raise BopFileError(
            f"{scene.json('scene_gt_info')}: image {image.image_id} has {len(details)} instances, "
            f"but {scene.json('scene_gt')} has {len(entries)}"
        )
    size: tuple[int, int] | None = None
    found = []
    for index, (entry, detail) in enumerate(zip(entries, details, strict=True)):
        where = f"image {image.image_id}, instance {index}"
        object_id = pick_fields(scene.json("scene_gt"), where, entry, {"obj_id": int})["obj_id"]
        share = pick_fields(scene.json("scene_gt_info"), where, detail, {"visib_fract": float})["visib_fract"]
        visible_path, whole_path = (scene.mask(kind, image.image_id, index) for kind in ("mask_visib", "mask"))
        visible = read_mask(visible_path)
        size = size or (visible.shape[0], visible.shape[1])
        if not visible.any():
            continue
        whole = read_mask(whole_path)
        for mask, path in ((visible, visible_path), (whole, whole_path)):
            _check_size(mask, path, size)
        if not whole.any():
            continue
        found.append(
            TrueInstance(
                image,
                object_id,
                encode_rle(visible),
                int(visible.sum()),
                _box(whole),
                share < MIN_VISIBLE_FRACTION,
                share,
            )
        )
    return size or _size_of_image(scene, image), found


def _check_size(mask: NDArray[np.bool_], path: Path, size: tuple[int, int]) -> None:
    if mask.shape != size:
        raise BopFileError(
            f"mask {path} is {mask.shape[1]} x {mask.shape[0]} pixels; others of its image are {size[1]} x {size[0]}"
        )


def _size_of_image(scene: BopScene, image: ImageKey) -> tuple[int, int]:
    frame = scene.frame(image.image_id)
    return frame.height, frame.width


def _box(mask: NDArray[np.bool_]) -> Box:
    x, y, width, height = mask_to_xywh(mask)
    return float(x), float(y), float(width), float(height)


def _from_coco(
    scene: BopScene, wanted: list[ImageKey]
) -> tuple[dict[ImageKey, tuple[int, int]], list[TrueInstance]] | None:
    """Read sizes and instances of the `wanted` images from scene_gt_coco.json; None where that lacks any of them."""
    path = scene.json("scene_gt_coco")
    if not path.is_file():
        return None
    content = pick_fields(
        path, "the file", read_json(path, dict, "images and annotations"), {"images": list, "annotations": list}
    )
    keys = {image.image_id: image for image in wanted}
    sizes = {}
    for position, entry in enumerate(content["images"]):
        found = pick_fields(path, f"image entry {position}", entry, {"id": int, "width": int, "height": int})
        if found["id"] in keys:
            sizes[keys[found["id"]]] = (found["height"], found["width"])
    if len(sizes) < len(wanted):
        return None
    instances = []
    for position, entry in enumerate(content["annotations"]):
        fields: Fields = {"image_id": int, "category_id": int, "area": int, "bbox": _four_numbers, "segmentation": dict}
        found = pick_fields(path, f"annotation {position}", entry, fields)
        if found["image_id"] not in keys:
            continue
        image = keys[found["image_id"]]
        instances.append(
            TrueInstance(
                image,
                found["category_id"],
                _compressed(path, position, found["segmentation"], sizes[image]),
                found["area"],
                found["bbox"],
                bool(entry.get("ignore", False)),
                float("nan"),
            )
        )
    return sizes, instances


def _four_numbers(value: Any) -> Box:
    x, y, width, height = (float(side) for side in value)
    return x, y, width, height


def _compressed(path: Path, position: int, rle: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """Convert an RLE, whose counts may be a list, to the compressed form."""
    try:
        if tuple(rle["size"]) != size:
            raise ValueError(f"size {rle['size']}, image {list(size)}")
        if not isinstance(rle["counts"], list):
            return {"size": list(size), "counts": rle["counts"]}
        made = coco_mask.frPyObjects(rle, *size)
        return {"size": list(size), "counts": made["counts"].decode("ascii")}
    except (KeyError, TypeError, ValueError) as error:
        raise BopFileError(f"{path}: annotation {position} is no RLE of its image ({error})") from None
