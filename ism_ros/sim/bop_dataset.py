"""Writes simulated tables as a dataset in the BOP format: models, test images, poses, masks and targets.

    python -m ism_ros.sim.bop_dataset OUT --scenes 3 --images 2

Object 1 is the first of the known objects, and so on; the other things on the tables have no model and are not in
the truth. The dataset serves to try `ism eval` and whatever else reads BOP datasets; it says nothing about real ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import trimesh
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from ism_ros.cad.surfaces import Surface
from ism_ros.data.frame import Camera, Frame
from ism_ros.rendering.scene import create_tracer
from ism_ros.sim.scenes import REALSENSE, Scene, Thing, Truth, known_objects, make_scene, make_thing, observe, orbited

DEPTH_SCALE = 0.1
"""Millimetres a step of the depth images: the finest that 16 bits hold over the range of the camera."""
LEAST_VISIBLE = 0.1
"""Instances less visible than this are no targets (as in BOP)."""
_TRIMESH_COMMENT = b"comment https://github.com/mikedh/trimesh\n"


@dataclass(frozen=True)
class Silhouette:
    """All of one object, as if nothing stood before it.

    mask: (H, W) bool, what of it lies in the picture. pixels: how many there are, those outside the picture
    included. box_xywh: theirs, in pixels of the picture, also beyond its border.
    """

    mask: NDArray[np.bool_]
    pixels: int
    box_xywh: list[int]


def write_dataset(
    folder: Path,
    *,
    scenes: int = 3,
    images: int = 2,
    objects: int = 5,
    object_set: int = 0,
    first_scene: int = 0,
    sweep_deg: float = 40.0,
    camera: Camera = REALSENSE,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes a dataset into `folder`, which must be empty or missing; the same arguments give the same dataset.

    scenes: tables, each seen by `images` cameras spread over `sweep_deg` about it. objects, object_set,
    first_scene: which objects and which tables, see scenes.known_objects and scenes.make_scene. progress: told
    (images written, images). Raises FileExistsError where the folder holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"folder {folder} is not empty: give a new one")
    meshes = known_objects(object_set, objects)
    _write_models(folder / "models", meshes)
    things = [make_thing(mesh) for mesh in meshes]
    object_ids = {thing.name: number for number, thing in enumerate(things, start=1)}
    targets: list[dict[str, int]] = []
    for number in range(1, scenes + 1):
        table = make_scene(first_scene + number - 1, things, camera=camera)
        views = [orbited(table, np.deg2rad(sweep_deg) * (view / max(images - 1, 1) - 0.5)) for view in range(images)]

        def tell(done: int, before: int = (number - 1) * images) -> None:
            if progress is not None:
                progress(before + done, scenes * images)

        targets += _write_scene(folder / "test" / f"{number:06d}", number, views, object_ids, tell)
    _write_json(folder / "test_targets_bop19.json", targets)
    seen = sorted({(target["scene_id"], target["im_id"]) for target in targets})
    _write_json(folder / "test_targets_bop24.json", [{"im_id": image, "scene_id": scene} for scene, image in seen])
    _write_json(
        folder / "camera.json",
        {
            "fx": camera.fx,
            "fy": camera.fy,
            "cx": camera.cx,
            "cy": camera.cy,
            "width": camera.width,
            "height": camera.height,
            "depth_scale": DEPTH_SCALE,
        },
    )
    (folder / "dataset_info.md").write_text(
        f"# {folder.name}\n\nSimulated tables in the BOP format, written by ism_ros.sim.bop_dataset: {scenes} scenes, "
        f"{images} images each, {objects} objects (set {object_set}, first scene {first_scene}).\n\n"
        + "".join(f"- {number}: {name}\n" for name, number in object_ids.items()),
        encoding="utf-8",
    )


def silhouette(surface: Surface, object_to_camera: NDArray[np.float64], camera: Camera) -> Silhouette:
    """What `surface` would cover if it were alone, as far as one picture's size beyond every border."""
    rotation, translation = object_to_camera[:3, :3].astype(np.float32), object_to_camera[:3, 3].astype(np.float32)
    triangles = surface.triangles_m @ rotation.T + translation
    x, y, z = triangles.reshape(-1, 3).T
    size = np.array((camera.width, camera.height))
    corners = np.stack((x / z * camera.fx + camera.cx, y / z * camera.fy + camera.cy), axis=1)
    first = np.maximum(np.floor(corners.min(axis=0)).astype(int), -size)
    width, height = (int(n) for n in np.minimum(np.ceil(corners.max(axis=0)).astype(int), 2 * size) - first + 1)
    shifted = Camera(
        np.array([[camera.fx, 0, camera.cx - first[0]], [0, camera.fy, camera.cy - first[1]], [0, 0, 1]]), width, height
    )
    hits = create_tracer(triangles).trace(np.eye(4), shifted, np.arange(width * height))
    covered = (hits.face >= 0).reshape(height, width)
    mask = np.zeros((camera.height, camera.width), bool)
    low, high = np.maximum(first, 0), np.minimum(first + np.array((width, height)), size)
    if (low < high).all():
        inside = slice(low[1] - first[1], high[1] - first[1]), slice(low[0] - first[0], high[0] - first[0])
        mask[low[1] : high[1], low[0] : high[0]] = covered[inside]
    box = _box_xywh(covered)
    return Silhouette(mask, int(covered.sum()), [int(box[0] + first[0]), int(box[1] + first[1]), box[2], box[3]])


def _write_models(folder: Path, meshes: Sequence[trimesh.Trimesh]) -> None:
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
    _write_json(folder / "models_info.json", info)


def _write_ply(path: Path, mesh: trimesh.Trimesh) -> None:
    """A PLY with normals and vertex colours, or with a texture beside it, named as BOP datasets do."""
    content = trimesh.exchange.ply.export_ply(mesh, vertex_normal=True)
    comment = b""
    material = getattr(mesh.visual, "material", None)
    if material is not None:
        texture = path.with_suffix(".png")
        material.baseColorTexture.save(texture)
        comment = b"comment TextureFile " + texture.name.encode() + b"\n"
    path.write_bytes(content.replace(_TRIMESH_COMMENT, comment, 1))


def _write_scene(
    folder: Path, scene_id: int, views: Sequence[Scene], object_ids: dict[str, int], tell: Callable[[int], None]
) -> list[dict[str, int]]:
    """One folder of test images, numbered from 0; returns its targets."""
    for name in ("rgb", "depth", "mask", "mask_visib"):
        (folder / name).mkdir(parents=True)
    cameras: dict[str, Any] = {}
    poses: dict[str, Any] = {}
    infos: dict[str, Any] = {}
    targets: list[dict[str, int]] = []
    for image_id, view in enumerate(views):
        frame, truth = observe(view, 1000 * view.seed + image_id)
        _write_images(folder, image_id, frame)
        cameras[str(image_id)] = {
            "cam_K": frame.camera.intrinsics.ravel().tolist(),
            "depth_scale": DEPTH_SCALE,
            "cam_R_w2c": view.world_to_camera[:3, :3].ravel().tolist(),
            "cam_t_w2c": (1000 * view.world_to_camera[:3, 3]).tolist(),
        }
        things = {placed.thing.name: placed.thing for placed in view.placed}
        poses[str(image_id)], infos[str(image_id)] = _write_truth(folder, image_id, frame, truth, things, object_ids)
        wanted = [
            pose["obj_id"]
            for pose, info in zip(poses[str(image_id)], infos[str(image_id)], strict=True)
            if info["visib_fract"] >= LEAST_VISIBLE
        ]
        targets += [
            {"im_id": image_id, "inst_count": wanted.count(number), "obj_id": number, "scene_id": scene_id}
            for number in sorted(set(wanted))
        ]
        tell(image_id + 1)
    _write_json(folder / "scene_camera.json", cameras)
    _write_json(folder / "scene_gt.json", poses)
    _write_json(folder / "scene_gt_info.json", infos)
    return targets


def _write_images(folder: Path, image_id: int, frame: Frame) -> None:
    assert frame.depth_m is not None
    depth = np.rint(frame.depth_m.astype(np.float64) * (1000 / DEPTH_SCALE)).astype(np.uint16)
    cv2.imwrite(str(folder / "rgb" / f"{image_id:06d}.png"), np.ascontiguousarray(frame.rgb[:, :, ::-1]))
    cv2.imwrite(str(folder / "depth" / f"{image_id:06d}.png"), depth)


def _write_truth(
    folder: Path, image_id: int, frame: Frame, truth: Truth, things: dict[str, Thing], object_ids: dict[str, int]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Masks of the known instances of one image; returns their entries in scene_gt.json and scene_gt_info.json."""
    assert frame.depth_m is not None
    poses, infos = [], []
    for index, row in enumerate(np.flatnonzero(truth.known)):
        pose, visible = truth.object_to_camera[row], truth.masks[row]
        whole = silhouette(things[truth.names[row]].surface, pose, frame.camera)
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
                "bbox_visib": _box_xywh(visible),
                "px_count_all": whole.pixels,
                "px_count_valid": int((whole.mask & (frame.depth_m > 0)).sum()),
                "px_count_visib": int(visible.sum()),
                "visib_fract": float(visible.sum() / max(whole.pixels, 1)),
            }
        )
    return poses, infos


def _box_xywh(mask: NDArray[np.bool_]) -> list[int]:
    v, u = np.nonzero(mask)
    return [int(u.min()), int(v.min()), int(np.ptp(u)) + 1, int(np.ptp(v)) + 1] if len(u) else [-1, -1, -1, -1]


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where the dataset was written, 2 where the folder cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the dataset; its name is the dataset's")
    parser.add_argument("--scenes", type=int, default=3, help="how many tables (default: %(default)s)")
    parser.add_argument("--images", type=int, default=2, help="images of each table (default: %(default)s)")
    parser.add_argument("--objects", type=int, default=5, help="how many objects with models (default: %(default)s)")
    parser.add_argument("--object-set", type=int, default=0, help="number of the set of objects")
    parser.add_argument("--first-scene", type=int, default=0, help="number of the first table")
    parser.add_argument("--sweep-deg", type=float, default=40.0, help="how far apart a table's cameras are, degrees")
    parser.add_argument("--width", type=int, default=REALSENSE.width, help="width of the images, 4:3 (pixels)")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        with Progress(console=console) as bar:
            task = bar.add_task("rendering", total=None)
            write_dataset(
                options.out,
                scenes=options.scenes,
                images=options.images,
                objects=options.objects,
                object_set=options.object_set,
                first_scene=options.first_scene,
                sweep_deg=options.sweep_deg,
                camera=scaled(REALSENSE, options.width),
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    except OSError as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 2
    console.print(f"{options.scenes * options.images} images in {options.out}", highlight=False, soft_wrap=True)
    return 0


def scaled(camera: Camera, width: int) -> Camera:
    """The same camera with pictures `width` pixels wide."""
    share = width / camera.width
    k = camera.intrinsics.copy()
    k[:2] *= share
    # Pixel centres lie at whole numbers: the left border is at -0.5 before and after.
    k[:2, 2] += 0.5 * share - 0.5
    return Camera(k, width, round(camera.height * share))


if __name__ == "__main__":
    sys.exit(main())
