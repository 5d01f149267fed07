"""A BOP dataset on disk: which objects it has, which images are to be judged, and each of them as a frame.

The layout is that of the BOP benchmark (scenewise): models*/obj_ID.ply in millimetres with models_info.json,
SPLIT/SCENE/{rgb,gray,depth,mask,mask_visib}/IMAGE.*, scene_camera.json, scene_gt.json, scene_gt_info.json, and
test_targets_bop19.json or test_targets_bop24.json. Datasets with several sensors append the sensor to each of the names
of a scene (rgb_SENSOR, scene_camera_SENSOR.json).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ism_ros.bop.files import BopFileError, numbered, pick_fields, read_json
from ism_ros.checks.camera_checks import intrinsics_error, non_pinhole_model
from ism_ros.data.frame import Frame
from ism_ros.io.frame_files import frame_of_files
from ism_ros.objects.spec import ObjectSpec

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""Suffixes of image files, in the order in which they are looked for."""
MODEL_FOLDERS = ("models", "models_cad", "models_eval", "models_reconst")
"""Folders in which models are looked for, in this order."""
TARGET_VERSIONS = ("bop19", "bop24")
"""Versions of the benchmark whose targets are looked for, in this order."""


class ImageKey(NamedTuple):
    """One image of a dataset."""

    scene_id: int
    image_id: int


@dataclass(frozen=True)
class BopDataset:
    """One split of a dataset, checked: the files of every image and model to be used are there.

    Attributes:
        folder: Folder of the dataset.
        split: Name of the split's folder.
        models: PLY file of each object, by its number.
        images: Those to be judged, scene by scene.
        targets: File that names them; None where these are all images of the split.
        sensor: Its name, "" where there is only one.
    """

    folder: Path
    split: str
    models: dict[int, Path]
    images: tuple[ImageKey, ...]
    targets: Path | None = None
    sensor: str = ""

    @property
    def name(self) -> str:
        """Name of the dataset's folder."""
        return self.folder.resolve().name

    def object_specs(self) -> tuple[ObjectSpec, ...]:
        """Convert the models to objects to be onboarded: obj_000005 is object 5."""
        return tuple(
            ObjectSpec(id=object_name(number), cad=path, units="mm", category_id=number)
            for number, path in self.models.items()
        )

    def scene(self, scene_id: int) -> BopScene:
        """Open one scene of this split.

        Args:
            scene_id: Its number.

        Returns:
            The scene.

        Raises:
            BopFileError: Its scene_camera.json cannot be used.
        """
        return open_scene(self.folder / self.split / f"{scene_id:06d}", self.sensor)

    def scene_ids(self) -> tuple[int, ...]:
        """List the scenes with images to be judged, in their order."""
        return tuple(dict.fromkeys(image.scene_id for image in self.images))


@dataclass(frozen=True)
class BopScene:
    """One folder of images.

    Attributes:
        folder: The folder.
        sensor: Name of the sensor, "" where there is only one.
        cameras: By image: (3, 3) intrinsics in pixels, and millimetres for a stored depth of 1.
    """

    folder: Path
    sensor: str
    cameras: dict[int, tuple[NDArray[np.float64], float]]

    def json(self, name: str) -> Path:
        """Name the file scene_gt.json or the like, of this sensor."""
        return self.folder / f"{name}{_suffix(self.sensor)}.json"

    def mask(self, kind: str, image_id: int, index: int) -> Path:
        """Name the file of a mask.

        Args:
            kind: mask (whole silhouette) or mask_visib (visible part).
            image_id: Number of the image.
            index: Position of the instance in scene_gt.

        Returns:
            The file, which may not exist.
        """
        return self.folder / f"{kind}{_suffix(self.sensor)}" / f"{image_id:06d}_{index:06d}.png"

    def color_file(self, image_id: int) -> Path:
        """Find the color image, or else the gray one.

        Args:
            image_id: Number of the image.

        Returns:
            The file.

        Raises:
            BopFileError: There is neither.
        """
        names = [f"rgb{_suffix(self.sensor)}", f"gray{_suffix(self.sensor)}", *([self.sensor] if self.sensor else [])]
        found = self._image(names, image_id)
        if found is None:
            folders = " or ".join(str(self.folder / name) for name in names)
            raise BopFileError(f"image {image_id:06d} is neither in {folders} (PNG, JPEG or TIFF expected)")
        return found

    def depth_file(self, image_id: int) -> Path | None:
        """Find the depth image; None where the sensor has none."""
        return self._image([f"depth{_suffix(self.sensor)}"], image_id)

    def frame(self, image_id: int) -> Frame:
        """Read one image with its depth in metres and its camera.

        Args:
            image_id: Number of the image.

        Returns:
            The frame.

        Raises:
            BopFileError: There is no such image or no camera of it.
            FrameFileError: An image file cannot be used.
            FrameError: The files do not fit together.
        """
        if image_id not in self.cameras:
            raise BopFileError(f"{self.json('scene_camera')} has no entry for image {image_id}")
        intrinsics, depth_scale = self.cameras[image_id]
        where = f"{self.json('scene_camera')}, image {image_id}"
        return frame_of_files(self.color_file(image_id), self.depth_file(image_id), intrinsics, depth_scale, where)

    def _image(self, folders: list[str], image_id: int) -> Path | None:
        paths = (self.folder / name / f"{image_id:06d}{suffix}" for name in folders for suffix in IMAGE_SUFFIXES)
        return next((path for path in paths if path.is_file()), None)


def object_name(number: int) -> str:
    """Return the id of object `number` everywhere in this package."""
    return f"obj_{number:06d}"


def open_dataset(
    folder: Path,
    split: str = "test",
    targets: Path | None = None,
    sensor: str = "",
    models: str = "",
    limit: int | None = None,
) -> BopDataset:
    """Open a dataset and check that its files are there.

    Args:
        folder: Folder of the dataset.
        split: Name of the split's folder; "test" is also found as the only test_SENSOR there is.
        targets: List of the images to be judged, also relative to the dataset; by default the split's of bop19 or else
            bop24, or else every image.
        sensor: Name of the sensor, "" where there is only one.
        models: Folder of the models; by default the first of MODEL_FOLDERS.
        limit: Only the first so many images; None = all.

    Returns:
        The dataset.

    Raises:
        BopFileError: A file or folder is missing or cannot be used.
    """
    if not folder.is_dir():
        raise BopFileError(f"dataset {folder} is not a folder")
    split = _split(folder, split)
    found = _models(folder, models)
    if targets is not None and not targets.is_file() and (folder / targets).is_file():
        targets = folder / targets
    chosen = targets or next(
        (path for path in (_targets_of(folder, split, version) for version in TARGET_VERSIONS) if path.is_file()), None
    )
    keys = _all_images(folder / split, sensor) if chosen is None else _read_targets(chosen, found)
    dataset = BopDataset(folder, split, found, keys[:limit], chosen, sensor)
    _check_images(dataset)
    return dataset


def open_scene(folder: Path, sensor: str = "") -> BopScene:
    """Open a scene.

    Args:
        folder: Folder of the scene.
        sensor: Name of the sensor, "" where there is only one.

    Returns:
        The scene.

    Raises:
        BopFileError: Its scene_camera.json is missing or cannot be used.
    """
    path = folder / f"scene_camera{_suffix(sensor)}.json"
    if not path.is_file():
        others = sorted(other.stem.removeprefix("scene_camera_") for other in folder.glob("scene_camera_*.json"))
        hint = f"; choose one of its sensors: --sensor {', '.join(others)}" if others else ""
        raise BopFileError(f"{path} does not exist{hint}")
    cameras = {}
    for image_id, entry in numbered(path, read_json(path, dict, "the camera of each image")).items():
        where = f"image {image_id}"
        if isinstance(entry, dict) and (projection := non_pinhole_model(entry)):
            raise BopFileError(
                f"{path}: {where} is of a {projection} camera, and only pinhole cameras can be used: undistort the "
                "images and write the new camera as cam_K"
            )
        found = pick_fields(path, where, {"depth_scale": 1.0, **entry}, {"cam_K": _intrinsics, "depth_scale": float})
        if not found["depth_scale"] > 0:
            raise BopFileError(f"{path}: {where}: depth_scale is {found['depth_scale']:g}, expected a number above 0")
        cameras[image_id] = (found["cam_K"], found["depth_scale"])
    return BopScene(folder, sensor, cameras)


def _suffix(sensor: str) -> str:
    return f"_{sensor}" if sensor else ""


def _intrinsics(value: Any) -> NDArray[np.float64]:
    return np.array(value, dtype=np.float64).reshape(3, 3)


def _split(folder: Path, split: str) -> str:
    if (folder / split).is_dir():
        return split
    similar = sorted(path.name for path in folder.glob(f"{split}_*") if path.is_dir())
    if len(similar) == 1:
        return similar[0]
    splits = similar or sorted({path.parent.parent.name for path in folder.glob("*/*/scene_camera*.json")})
    hint = f"choose --split {', '.join(splits)}" if splits else "is this the folder of one BOP dataset?"
    raise BopFileError(f"dataset {folder} has no folder '{split}'; {hint}")


def _models(folder: Path, name: str) -> dict[int, Path]:
    names = (name,) if name else MODEL_FOLDERS
    home = next((folder / candidate for candidate in names if (folder / candidate).is_dir()), None)
    if home is None:
        raise BopFileError(f"dataset {folder} has no folder {' or '.join(names)}: unpack its models there")
    info = home / "models_info.json"
    numbers = sorted(numbered(info, read_json(info, dict, "the size of each object's model, by its number")))
    if not numbers:
        raise BopFileError(f"{info} lists no object")
    models = {number: home / f"{object_name(number)}.ply" for number in numbers}
    for number, path in models.items():
        if not path.is_file():
            raise BopFileError(f"model {path} does not exist, but {info} lists object {number}")
    return models


def _targets_of(folder: Path, split: str, version: str) -> Path:
    return folder / f"{split.partition('_')[0]}_targets_{version}.json"


def _read_targets(path: Path, models: dict[int, Path]) -> tuple[ImageKey, ...]:
    """The images that a targets file names, scenes in its order, images in theirs."""
    keys: dict[ImageKey, None] = {}
    for position, entry in enumerate(read_json(path, list, "a list of {scene_id, im_id}")):
        where = f"entry {position}"
        found = pick_fields(path, where, entry, {"scene_id": int, "im_id": int})
        if "obj_id" in entry and entry["obj_id"] not in models:
            raise BopFileError(f"{path}: {where} is object {entry['obj_id']}, of which there is no model")
        keys[ImageKey(found["scene_id"], found["im_id"])] = None
    if not keys:
        raise BopFileError(f"{path} names no image")
    return _by_scene(list(keys))


def _all_images(split: Path, sensor: str) -> tuple[ImageKey, ...]:
    scenes = sorted(int(path.name) for path in split.iterdir() if path.is_dir() and path.name.isdigit())
    keys = [
        ImageKey(number, image) for number in scenes for image in open_scene(split / f"{number:06d}", sensor).cameras
    ]
    if not keys:
        raise BopFileError(f"{split} has no scene with images")
    return _by_scene(keys)


def _by_scene(keys: list[ImageKey]) -> tuple[ImageKey, ...]:
    """Scenes in the order of their first appearance, the images of each by number."""
    position = {scene: k for k, scene in enumerate(dict.fromkeys(key.scene_id for key in keys))}
    return tuple(sorted(keys, key=lambda key: (position[key.scene_id], key.image_id)))


def _check_images(dataset: BopDataset) -> None:
    """Check, before hours of work, the files and the camera matrix of every image."""
    for scene_id in dataset.scene_ids():
        scene = dataset.scene(scene_id)
        size: tuple[int, int] | None = None
        for image in dataset.images:
            if image.scene_id == scene_id:
                color_file = scene.color_file(image.image_id)
                if image.image_id not in scene.cameras:
                    raise BopFileError(f"{scene.json('scene_camera')} has no entry for image {image.image_id}")
                size = size or _size(color_file)
                _check_camera(scene, image.image_id, size)


def _check_camera(scene: BopScene, image_id: int, size: tuple[int, int] | None) -> None:
    intrinsics, _ = scene.cameras[image_id]
    usable = np.isfinite(intrinsics).all() and intrinsics[0, 0] > 0 and intrinsics[1, 1] > 0
    if size is not None and usable and (fault := intrinsics_error(intrinsics, *size)):
        raise BopFileError(f"{scene.json('scene_camera')}: image {image_id}: {fault}")


def _size(file: Path) -> tuple[int, int] | None:
    """Read width and height of an image from its first bytes; None where they do not tell."""
    try:
        with Image.open(file) as image:
            return image.size
    except (OSError, SyntaxError, ValueError):
        return None
