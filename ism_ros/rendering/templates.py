"""Template folders: rgb_i.png, mask_i.png, xyz_i.npy as SAM-6D's tools read and write them, plus poses.npy.

xyz_i.npy holds the object coordinates of every pixel in millimetres (the reference writes float16, its pose estimator
divides by 1000; of objects far from their origin these are float32 or float64, as float16 would be too coarse), 0
outside the mask; mask_i.png is 0 or 255. poses.npy (T, 4, 4), object to camera in metres, and
templates.json are ours.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ism_ros.cad.units import METRES, UNITS, UNITS_TEXT
from ism_ros.errors import first_line
from ism_ros.rendering.views.view_depth import view_depth_px
from ism_ros.rendering.views.viewpoints import VIEW_COUNT, object_to_camera_rotations
from ism_ros.runtime.cache_folder import write_array

FORMAT_VERSION = 1
"""Version of templates.json."""
_OUR_FILES = re.compile(r"(rgb|mask)_\d+\.png|xyz_\d+\.npy|poses\.npy|templates\.(json|png)")
_THUMBNAIL_PX = 140


class TemplateError(ValueError):
    """A template folder that cannot be used; the message names the file at fault."""


@dataclass(frozen=True)
class TemplateSet:
    """Templates of one object.

    Attributes:
        rgb: (T, H, W, 3) uint8.
        masks: (T, H, W) bool.
        xyz_m: (T, H, W, 3) float32, or float64 far from the origin: the point in the object frame, metres; 0 outside
            the mask.
        rotations: (T, 3, 3) float64 object-to-camera (OpenCV axes); None where they are not known.
        translations_m: (T, 3) object-to-camera, metres, or None.
        intrinsics: (T, 3, 3), pixels, or None.
    """

    rgb: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    xyz_m: NDArray[np.float32] | NDArray[np.float64]
    rotations: NDArray[np.float64] | None = None
    translations_m: NDArray[np.float64] | None = None
    intrinsics: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        """Count the templates, T."""
        return int(self.rgb.shape[0])

    @cached_property
    def bounds_m(self) -> NDArray[np.float64]:
        """Lowest and highest corner (2, 3) of the box around what the templates show, in the object frame, metres."""
        seen = self.xyz_m[self.masks].astype(np.float64)
        return np.stack([seen.min(axis=0), seen.max(axis=0)])

    @cached_property
    def depth_px(self) -> NDArray[np.float32] | None:
        """Depth (T, H, W) up to a constant, in pixels, 0 outside the masks; None without rotations."""
        return None if self.rotations is None else view_depth_px(self.xyz_m, self.masks, self.rotations)


def write_templates(folder: Path, templates: TemplateSet, about: Mapping[str, Any] | None = None) -> None:
    """Write a folder of templates, whole or not at all.

    Args:
        folder: Where; a folder of templates is replaced. templates.png in it shows all of them at once.
        templates: What to write.
        about: Further entries of templates.json (where the templates come from).

    Raises:
        TemplateError: The folder holds anything else.
        OSError: It cannot be written; what was there before is still there.
    """
    folder = Path(os.path.abspath(folder))
    check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _write_files(made, templates, about or {})
        made.chmod(0o755)
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            os.replace(folder, old)
            os.replace(made, folder)
            shutil.rmtree(old)
        else:
            os.replace(made, folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def check_replaceable(folder: Path) -> None:
    """Check that writing templates to a folder would replace nothing but templates.

    Args:
        folder: It need not exist.

    Raises:
        TemplateError: It is a file, or holds anything but templates.
    """
    if folder.exists() and not folder.is_dir():
        raise TemplateError(f"{folder} is a file; choose a folder for the templates")
    if folder.is_dir():
        others = sorted(item.name for item in folder.iterdir() if not _OUR_FILES.fullmatch(item.name))
        if others:
            raise TemplateError(
                f"{folder} holds '{others[0]}', which is no template: it is left as it is; choose another folder"
            )


def read_templates(folder: Path, xyz_units: str = "mm") -> TemplateSet:
    """Read a folder of templates, written by `write_templates` or by SAM-6D's render tool.

    Their number is that of the xyz_*.npy files. Without poses.npy, 42 templates have the rotations of the icosphere
    in the reference's order; any other number has none.

    Args:
        folder: Where they are.
        xyz_units: Units of xyz_*.npy where no templates.json names them (the reference leaves them in those of the CAD
            file).

    Returns:
        The templates, in metres.

    Raises:
        TemplateError: They cannot be used; the message names the file at fault.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise TemplateError(f"template folder {folder} {'is not a folder' if folder.exists() else 'does not exist'}")
    count = len(list(folder.glob("xyz_*.npy")))
    if count == 0:
        raise TemplateError(f"template folder {folder} has no xyz_*.npy files: render the templates again")
    about = _read_about(folder / "templates.json")
    scale = METRES[about.get("xyz_units", xyz_units)]

    rgb, masks, xyz = [], [], []
    for index in range(count):
        xyz.append(_read_xyz(_existing(folder / f"xyz_{index}.npy")))
        rgb.append(_read_png(_existing(folder / f"rgb_{index}.png"), "RGB"))
        masks.append(_read_png(_existing(folder / f"mask_{index}.png"), "L") > 127)
        shape = rgb[0].shape[:2]
        for kind, array in (("rgb", rgb[-1]), ("mask", masks[-1]), ("xyz", xyz[-1])):
            if array.shape[:2] != shape:
                file = folder / f"{kind}_{index}.{'npy' if kind == 'xyz' else 'png'}"
                raise TemplateError(f"{file} is {_size(array)}, but {folder / 'rgb_0.png'} is {_size(rgb[0])}")
        if not masks[-1].any():
            raise TemplateError(f"{folder / f'mask_{index}.png'} is empty: the object is not in the picture")
        if not np.isfinite(xyz[-1]).all():
            raise TemplateError(f"{folder / f'xyz_{index}.npy'} holds numbers that are not finite")

    rotations, translations_m = _read_poses(folder / "poses.npy", count)
    intrinsics = about.get("intrinsics")
    stacked_masks = np.stack(masks)
    return TemplateSet(
        rgb=np.stack(rgb),
        masks=stacked_masks,
        xyz_m=_in_metres(np.stack(xyz), scale) * stacked_masks[..., None],
        rotations=rotations,
        translations_m=translations_m,
        intrinsics=None if intrinsics is None else np.asarray(intrinsics, dtype=np.float64).reshape(-1, 3, 3),
    )


def _in_metres(xyz: NDArray[Any], scale: float) -> NDArray[Any]:
    return xyz * xyz.dtype.type(scale)


def contact_sheet(templates: TemplateSet, columns: int = 7, side_px: int = _THUMBNAIL_PX) -> NDArray[np.uint8]:
    """Show all templates in one image, row by row.

    Args:
        templates: What to show.
        columns: Templates in a row.
        side_px: Side of each, pixels.

    Returns:
        (rows * side_px, columns * side_px, 3) uint8 RGB.
    """
    rows = -(-len(templates) // columns)
    sheet = np.zeros((rows * side_px, columns * side_px, 3), dtype=np.uint8)
    for index, picture in enumerate(templates.rgb):
        scale = side_px / max(picture.shape[:2])
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        top, left = index // columns * side_px, index % columns * side_px
        sheet[top : top + small.shape[0], left : left + small.shape[1]] = small[:side_px, :side_px]
    return sheet


def _exact_type(templates: TemplateSet) -> type[np.floating[Any]]:
    """Choose the smallest type of numbers that resolves millimetres of the object to a thousandth of its size."""
    bounds_mm = templates.bounds_m * 1000
    farthest_mm, size_mm = float(np.abs(bounds_mm).max()), float(np.linalg.norm(bounds_mm[1] - bounds_mm[0]))
    step_mm = max(size_mm, 1e-3) / 1000
    for kind in (np.float16, np.float32):
        if farthest_mm < float(np.finfo(kind).max) and float(np.spacing(kind(farthest_mm))) <= step_mm:
            return kind
    return np.float64


def _write_files(folder: Path, templates: TemplateSet, about: Mapping[str, Any]) -> None:
    exact = _exact_type(templates)
    for index in range(len(templates)):
        _write_png(folder / f"rgb_{index}.png", templates.rgb[index][..., ::-1])
        _write_png(folder / f"mask_{index}.png", templates.masks[index].astype(np.uint8) * 255)
        with (folder / f"xyz_{index}.npy").open("wb") as stream:
            write_array(stream, (templates.xyz_m[index] * 1000).astype(exact))
    content = {
        "format_version": FORMAT_VERSION,
        "templates": len(templates),
        "size_px": list(templates.rgb.shape[1:3]),
        "xyz_units": "mm",
        **about,
    }
    if templates.rotations is not None:
        poses = np.tile(np.eye(4), (len(templates), 1, 1))
        poses[:, :3, :3] = templates.rotations
        if templates.translations_m is not None:
            poses[:, :3, 3] = templates.translations_m
        np.save(folder / "poses.npy", poses)
    if templates.intrinsics is not None:
        content["intrinsics"] = np.round(templates.intrinsics, 6).reshape(-1, 9).tolist()
    _write_png(folder / "templates.png", contact_sheet(templates)[..., ::-1])
    (folder / "templates.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _write_png(file: Path, picture: NDArray[np.uint8]) -> None:
    # cv2.imwrite says nothing when the disk is full.
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(picture))
    file.write_bytes(encoded.tobytes())


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise TemplateError(f"{file} is missing: render the templates again")
    return file


def _read_png(file: Path, mode: str) -> NDArray[np.uint8]:
    try:
        with Image.open(file) as picture:
            return np.asarray(picture.convert(mode))
    except (OSError, SyntaxError, ValueError) as error:
        raise TemplateError(f"{file} is no readable picture ({error}): render the templates again") from None


def _read_xyz(file: Path) -> NDArray[np.float32] | NDArray[np.float64]:
    array = _read_npy(file)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype.kind != "f":
        raise TemplateError(f"{file} must hold (H, W, 3) floating-point numbers, not {array.shape} {array.dtype}")
    return array if array.dtype == np.float64 else array.astype(np.float32)


def _read_npy(file: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(file, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        reason = first_line(error) if str(error) else "it is cut short"
        raise TemplateError(f"{file} is no readable array ({reason}): render the templates again") from None


def _read_poses(file: Path, count: int) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    if not file.exists():
        return (object_to_camera_rotations() if count == VIEW_COUNT else None), None
    poses = _read_npy(file)
    if poses.shape != (count, 4, 4) or poses.dtype.kind != "f":
        raise TemplateError(f"{file} must hold ({count}, 4, 4) floating-point numbers, not {poses.shape} {poses.dtype}")
    poses = poses.astype(np.float64)
    rotations = poses[:, :3, :3]
    error = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    bad = np.flatnonzero(~(error < 1e-3) | ~(np.linalg.det(rotations) > 0) | ~np.isfinite(poses).all(axis=(1, 2)))
    if len(bad):
        raise TemplateError(f"{file}: pose {bad[0]} is not a rotation and a translation")
    return rotations, poses[:, :3, 3]


def _read_about(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TemplateError(f"{file} is no readable JSON ({error}): render the templates again") from None
    if not isinstance(content, dict) or content.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
        raise TemplateError(f"{file} is of a format that this version does not know: render the templates again")
    if content.get("xyz_units", "mm") not in UNITS:
        raise TemplateError(f"{file}: xyz_units '{content['xyz_units']}' are unknown; {UNITS_TEXT}")
    return content


def _size(array: NDArray[Any]) -> str:
    return f"{array.shape[1]} x {array.shape[0]}"
