#!/usr/bin/env python3
"""Make the sample scene that `ism doctor` tries the models on: ism_ros/selftest/sample_scene/.

    python tools/make_sample_scene.py ism_ros/selftest/sample_scene

Two objects made by rule (a carton, a banana) among others on a simulated table, with the noise of a depth camera:
rgb.jpg, depth.png and camera.json as `ism segment` reads them; objects.yaml with the CAD models; truth.png, in which
the value k is the k-th object of objects.yaml and 255 another object.

The expected scores in ism_ros/selftest/self_test.py belong to the files as committed. Whoever makes them again runs
`ism doctor` and writes the new scores there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np

from ism_ros.data.camera import Camera
from ism_ros.sim.benchmark_scenes.known_objects import make_scene_object
from ism_ros.sim.benchmark_scenes.objects.object_catalog import export_cad, make_object
from ism_ros.sim.benchmark_scenes.scene_rendering import observe
from ism_ros.sim.benchmark_scenes.table_scene import make_scene

SCENE = 11
OBJECTS = (("carton", 11), ("banana", 5))
CAMERA = Camera(np.array([[461.25, 0, 239.5], [0, 461.25, 179.5], [0, 0, 1]]), 480, 360)
LEFT, TOP, WIDTH, HEIGHT = 80, 40, 352, 288
"""The part of the picture that is kept: the objects and some table."""
OTHER = 255


def main(out: Path) -> None:
    """Write all files into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    meshes = [make_object(kind, seed) for kind, seed in OBJECTS]
    for mesh, (kind, _) in zip(meshes, OBJECTS, strict=True):
        mesh.metadata["name"] = kind
    lines = [f"  - {{id: {file.stem}, cad: {file.name}, units: m}}" for file in (export_cad(m, out) for m in meshes)]
    (out / "objects.yaml").write_text("\n".join(["objects:", *lines, ""]))

    scene = make_scene(
        SCENE, [make_scene_object(mesh) for mesh in meshes], camera=CAMERA, objects=(5, 6), known_in_scene=(2, 2)
    )
    frame, truth = observe(scene)
    assert frame.depth_m is not None
    names = [kind for kind, _ in OBJECTS]
    labels = np.zeros(truth.masks.shape[1:], np.uint8)
    for mask, name, known in zip(truth.masks, truth.names, truth.known, strict=True):
        labels[mask] = names.index(name) + 1 if known else OTHER
    window = np.s_[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH]
    depth_mm = np.round(frame.depth_m * 1000).astype(np.uint16)
    cv2.imwrite(str(out / "rgb.jpg"), frame.rgb[window][:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    cv2.imwrite(str(out / "depth.png"), depth_mm[window], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    cv2.imwrite(str(out / "truth.png"), labels[window])
    intrinsics = CAMERA.intrinsics - np.array([[0, 0, LEFT], [0, 0, TOP], [0, 0, 0]])
    camera = {"cam_K": intrinsics.ravel().tolist(), "depth_scale": 1.0}
    (out / "camera.json").write_text(json.dumps(camera) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
