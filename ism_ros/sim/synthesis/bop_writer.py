"""Files of a dataset in the BOP format: models, images, poses, masks and targets.

The format: https://github.com/thodan/bop_toolkit/blob/master/docs/bop_datasets_format.md
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from ism_ros.cad.surfaces import Surface
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.sim.synthesis.ground_truth import GroundTruth
from ism_ros.sim.synthesis.silhouettes import box_of_mask, silhouette

DEPTH_SCALE = 0.1
"""Millimetres a step of the depth images: the finest for which 16 bits hold the range of the camera."""
MIN_VISIBLE_SHARE = 0.1
"""Least visible share of an instance that is a target, as in BOP."""
_TRIMESH_COMMENT = b"comment https://github.com/mikedh/trimesh\n"


@dataclass(frozen=True)
class BopImage:
    """One test image.

    Attributes:
        frame: The frame, with depth.
        truth: Its ground truth.
        world_to_camera: (4, 4) pose of the camera, metres.
    """

    frame: Frame
    truth: GroundTruth
    world_to_camera: NDArray[np.float64]


def write_models(folder: Path, meshes: Sequence[trimesh.Trimesh]) -> None:
    """Write obj_000001.ply and so on in millimetres, and models_info.json.

    Args:
        folder: The folder `models` of the dataset; must not exist.
        meshes: Meshes in metres, object 1 first.
    """
    folder.mkdir(parents=True)
    info: dict[str, dict[str, float]] = {}
    for number, mesh in enumerate(meshes, start=1):
        mesh_mm = mesh.copy()
        mesh_mm.apply_scale(1000.0)
        _write_ply(folder / f"obj_{number:06d}.ply", mesh_mm)
        corners = mesh_mm.vertices[ConvexHull(mesh_mm.vertices).vertices]
        (low, high) = mesh_mm.bounds
        info[str(number)] = {
            "diameter": float(pdist(corners).max()),
            **{f"min_{axis}": float(value) for axis, value in zip("xyz", low, strict=True)},
            **{f"size_{axis}": float(value) for axis, value in zip("xyz", high - low, strict=True)},
        }
    write_json(folder / "models_info.json", info)


def _write_ply(path: Path, mesh: trimesh.Trimesh) -> None:
    """Write a PLY with normals and vertex colors, or with a texture next to it, named as BOP datasets do."""
    content = trimesh.exchange.ply.export_ply(mesh, vertex_normal=True)
    comment = b""
    material = getattr(mesh.visual, "material", None)
    if material is not None:
        texture = path.with_suffix(".png")
        material.baseColorTexture.save(texture)
        comment = b"comment TextureFile " + texture.name.encode() + b"\n"
    path.write_bytes(content.replace(_TRIMESH_COMMENT, comment, 1))


def write_scene(
    folder: Path,
    scene_id: int,
    images: Iterable[BopImage],
    surfaces: Mapping[str, Surface],
    object_ids: Mapping[str, int],
    report: Callable[[int], None],
) -> list[dict[str, int]]:
    """Write one folder of test images, numbered from 0.

    Args:
        folder: The folder of the scene; its subfolders must not exist.
        scene_id: Number of the scene.
        images: The images.
        surfaces: Surface of each object by name, metres.
        object_ids: Number of each known object by name.
        report: Called with the number of images written so far.

    Returns:
        The targets of the scene, as in test_targets_bop19.json.
    """
    for name in ("rgb", "depth", "mask", "mask_visib"):
        (folder / name).mkdir(parents=True)
    cameras: dict[str, Any] = {}
    poses: dict[str, Any] = {}
    infos: dict[str, Any] = {}
    targets: list[dict[str, int]] = []
    for image_id, image in enumerate(images):
        frame, pose = image.frame, image.world_to_camera
        _write_images(folder, image_id, frame)
        cameras[str(image_id)] = {
            "cam_K": frame.camera.intrinsics.ravel().tolist(),
            "depth_scale": DEPTH_SCALE,
            "cam_R_w2c": pose[:3, :3].ravel().tolist(),
            "cam_t_w2c": (1000 * pose[:3, 3]).tolist(),
        }
        poses[str(image_id)], infos[str(image_id)] = _write_truth(folder, image_id, image, surfaces, object_ids)
        targeted = [
            entry["obj_id"]
            for entry, info in zip(poses[str(image_id)], infos[str(image_id)], strict=True)
            if info["visib_fract"] >= MIN_VISIBLE_SHARE
        ]
        targets += [
            {"im_id": image_id, "inst_count": targeted.count(number), "obj_id": number, "scene_id": scene_id}
            for number in sorted(set(targeted))
        ]
        report(image_id + 1)
    write_json(folder / "scene_camera.json", cameras)
    write_json(folder / "scene_gt.json", poses)
    write_json(folder / "scene_gt_info.json", infos)
    return targets


def _write_images(folder: Path, image_id: int, frame: Frame) -> None:
    assert frame.depth_m is not None
    depth = np.rint(frame.depth_m.astype(np.float64) * (1000 / DEPTH_SCALE)).astype(np.uint16)
    cv2.imwrite(str(folder / "rgb" / f"{image_id:06d}.png"), np.ascontiguousarray(frame.rgb[:, :, ::-1]))
    cv2.imwrite(str(folder / "depth" / f"{image_id:06d}.png"), depth)


def _write_truth(
    folder: Path, image_id: int, image: BopImage, surfaces: Mapping[str, Surface], object_ids: Mapping[str, int]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write the masks of the known instances of one image; return their entries in scene_gt and scene_gt_info."""
    frame, truth = image.frame, image.truth
    assert frame.depth_m is not None
    poses, infos = [], []
    for index, row in enumerate(np.flatnonzero(truth.known)):
        pose, visible = truth.object_to_camera[row], truth.masks[row]
        whole = silhouette(surfaces[truth.names[row]], pose, frame.camera)
        name = f"{image_id:06d}_{index:06d}.png"
        cv2.imwrite(str(folder / "mask" / name), 255 * whole.mask.astype(np.uint8))
        cv2.imwrite(str(folder / "mask_visib" / name), 255 * visible.astype(np.uint8))
        poses.append(
            {
                "obj_id": object_ids[truth.names[row]],
                "cam_R_m2c": pose[:3, :3].ravel().tolist(),
                "cam_t_m2c": (1000 * pose[:3, 3]).tolist(),
            }
        )
        infos.append(
            {
                "bbox_obj": whole.box_xywh,
                "bbox_visib": box_of_mask(visible),
                "px_count_all": whole.pixels,
                "px_count_valid": int((whole.mask & (frame.depth_m > 0)).sum()),
                "px_count_visib": int(visible.sum()),
                "visib_fract": float(visible.sum() / max(whole.pixels, 1)),
            }
        )
    return poses, infos


def write_camera(folder: Path, camera: Camera) -> None:
    """Write camera.json.

    Args:
        folder: The dataset.
        camera: The camera of its images.
    """
    content = {name: getattr(camera, name) for name in ("fx", "fy", "cx", "cy", "width", "height")}
    write_json(folder / "camera.json", {**content, "depth_scale": DEPTH_SCALE})


def write_json(path: Path, content: Any) -> None:
    """Write JSON with the indentation of all files of a dataset.

    Args:
        path: The file.
        content: What it holds.
    """
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
