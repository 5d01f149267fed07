"""Printed labels as images, and meshes that carry them as UV textures."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image

from ism_ros.sim.benchmark_scenes.objects.solid_shapes import revolve_with_uv
from ism_ros.sim.benchmark_scenes.objects.vertex_paint import random_color

Array = NDArray[np.float64]

TEXTURE_HEIGHT_PX, TEXTURE_WIDTH_PX = 768, 1024
"""Size of the texture of a solid of revolution."""
_WORDS = (
    "TOMATO",
    "OATS",
    "GLUE",
    "OOLONG",
    "CORN",
    "RICE",
    "NUTS",
    "WAX",
    "SALT",
    "PASTA",
    "SOAP",
    "COCOA",
    "BEANS",
)


def printed_label(rng: np.random.Generator, width: int, height: int, ground: Array, ink: Array) -> NDArray[np.uint8]:
    """Draw a printed label: stripes or discs, a word, lines of small print and sometimes a bar code.

    Args:
        rng: Source of randomness.
        width: Pixels.
        height: Pixels.
        ground: (3,) RGB of the paper.
        ink: (3,) RGB of the print.

    Returns:
        (height, width, 3) uint8 RGB, its top first.
    """
    image = np.empty((height, width, 3), np.uint8)
    image[:] = ground.astype(np.uint8)
    accent = tuple(int(c) for c in random_color(rng))
    ink_bgr = tuple(int(c) for c in ink)
    motif = rng.integers(5)
    if motif == 0:
        for k in range(int(rng.integers(2, 5))):
            top = int(height * (0.08 + 0.2 * k))
            cv2.rectangle(image, (0, top), (width, top + height // 14), accent, -1)
    elif motif == 1:
        for _ in range(int(rng.integers(3, 8))):
            centre = (int(rng.integers(width)), int(rng.integers(height)))
            cv2.circle(image, centre, int(rng.integers(height // 12, height // 5)), accent, -1, cv2.LINE_AA)
    elif motif == 2:
        slope = int(rng.integers(width // 4, width))
        points = np.array([(0, height), (0, height // 3), (slope, 0), (width, 0), (width, height // 4)])
        cv2.fillPoly(image, [points], accent, cv2.LINE_AA)
    elif motif == 3:
        cv2.ellipse(
            image,
            (width // 2, height // 2),
            (width * 2 // 5, height // 3),
            0,
            0,
            360,
            accent,
            -1,
            cv2.LINE_AA,
        )
    else:
        for column in range(0, width, max(8, width // int(rng.integers(5, 11)))):
            cv2.rectangle(image, (column, height * 3 // 5), (column + width // 24, height), accent, -1)
    word = str(rng.choice(_WORDS))
    (text_width, _), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_DUPLEX, 1.0, 2)
    scale = 0.8 * width / text_width
    at = (int(0.1 * width), int(height * rng.uniform(0.35, 0.6)))
    cv2.putText(image, word, at, cv2.FONT_HERSHEY_DUPLEX, scale, ink_bgr, max(2, int(scale * 3)), cv2.LINE_AA)
    for row in range(int(rng.integers(2, 6))):
        top = int(height * 0.66 + row * height * 0.045)
        right = int(width * rng.uniform(0.4, 0.85))
        cv2.line(image, (int(0.1 * width), top), (right, top), ink_bgr, max(1, height // 90))
    if rng.random() < 0.5:
        left, top = int(width * 0.62), int(height * 0.82)
        cv2.rectangle(image, (left, top), (left + width // 4, top + height // 8), (240, 240, 240), -1)
        for column in range(left + 4, left + width // 4 - 4, 5):
            cv2.line(
                image,
                (column, top + 3),
                (column, top + height // 8 - 3),
                (20, 20, 20),
                int(rng.integers(1, 4)),
            )
    return image


def ink_color(ground: Array, rng: np.random.Generator) -> Array:
    """Choose a color that is readable on a background.

    Args:
        ground: (3,) RGB of the background.
        rng: Source of randomness.

    Returns:
        (3,) RGB in [0, 255].
    """
    dark = np.array((30.0, 30.0, 40.0))
    light = np.array((240.0, 238.0, 230.0))
    ink = light if ground.mean() < 120 else dark
    return ink if rng.random() < 0.7 else np.clip(255 - ground, 0, 255)


def textured_mesh(vertices: Array, faces: Any, uv: Array, image: NDArray[np.uint8], shine: float) -> trimesh.Trimesh:
    """Create a mesh with a UV texture.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3) vertex indices.
        uv: (V, 2), origin at the lower left of the image.
        image: (h, w, 3) uint8 RGB.
        shine: How mirror-like the surface is, in [0, 1].

    Returns:
        The mesh, metadata `shine`.
    """
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.fromarray(image), metallicFactor=0.0, roughnessFactor=1.0 - 0.7 * shine
    )
    visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    mesh = trimesh.Trimesh(vertices, faces, visual=visual, process=False)
    mesh.metadata["shine"] = shine
    return mesh


def printed_solid(
    profile: Any, bands: list[tuple[float, float, NDArray[np.uint8] | Array]], ground: Array, shine: float
) -> trimesh.Trimesh:
    """Revolve a profile and wrap printed bands around it.

    Args:
        profile: (N, 2) radius and z in metres, from the bottom of the axis to its top.
        bands: Start and end in metres along the profile, and the image (h, w, 3) or color (3,) there.
        ground: (3,) RGB of the rest.
        shine: How mirror-like the surface is, in [0, 1].

    Returns:
        The textured mesh.
    """
    vertices, faces, uv = revolve_with_uv(profile)
    path = np.asarray(profile, float)
    length = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
    image = np.empty((TEXTURE_HEIGHT_PX, TEXTURE_WIDTH_PX, 3), np.uint8)
    image[:] = ground.astype(np.uint8)
    for start, end, what in bands:
        # The profile starts at the bottom, which is v = 1, and so does the image with its first row: rows run
        # up the body, and a label, which has its top first, goes in upside down.
        first, last = (round(TEXTURE_HEIGHT_PX * min(max(s / length, 0.0), 1.0)) for s in (start, end))
        if last <= first:
            continue
        if what.ndim == 1:
            image[first:last] = what.astype(np.uint8)
        else:
            image[first:last] = cv2.resize(what, (TEXTURE_WIDTH_PX, last - first), interpolation=cv2.INTER_AREA)[::-1]
    return textured_mesh(vertices, faces, uv, image, shine)
