"""Triangles, normals and colors of a mesh as plain arrays, which is what a renderer needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ism_ros.cad.colors import linear_of_srgb, rgb_picture, srgb_of_linear

if TYPE_CHECKING:
    import trimesh

FloatArray = NDArray[np.float32]
"""float32 of any shape."""

DEFAULT_GRAY = 160
"""Red, green and blue of what has no color."""
SMOOTH_BELOW_DEG = 40.0
"""Angle between two faces below which the edge between them is shaded smooth."""
MAX_TEXTURE_PX = 2048
"""Shorter side of a texture, above which it is reduced."""


@dataclass(frozen=True)
class Surface:
    """The triangles of one mesh, ready to be rendered many times.

    Attributes:
        triangles_m: (F, 3, 3) float32, corners in the object frame, metres.
        face_normals: (F, 3) float32, unit normals of the faces.
        normals: (F, 3, 3) float32, unit normals of their corners.
        colors: (F, 3, 3) float32, RGB of the corners in [0, 255], used where there is no texture.
        uv: (F, 3, 2) float32, origin at the lower left of the texture; None without one.
        texture: (h, w, 3) uint8 RGB, or None.
    """

    triangles_m: FloatArray
    face_normals: FloatArray
    normals: FloatArray
    colors: FloatArray
    uv: FloatArray | None = None
    texture: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        """Count the triangles, F."""
        return int(self.triangles_m.shape[0])


def surface_of(mesh: trimesh.Trimesh, about_m: NDArray[np.float64] | None = None) -> Surface:
    """Take the surface of a mesh with its vertex colors, face colors or texture; gray where it has none.

    Args:
        mesh: In metres.
        about_m: (3,) of the object frame, which corners are relative to; None = its origin. Near the object, single
            precision is enough however far away the origin lies.

    Returns:
        The surface.
    """
    faces = np.asarray(mesh.faces, dtype=np.int64)
    vertices = np.asarray(mesh.vertices) if about_m is None else np.asarray(mesh.vertices) - about_m
    triangles = vertices.astype(np.float32)[faces]
    uv, texture = _texture(mesh.visual, faces)
    face_normals, normals = _normals(vertices, faces)
    return Surface(
        triangles,
        face_normals,
        normals,
        _corner_colors(mesh.visual, faces),
        uv,
        texture,
    )


def texture_lookup(texture: NDArray[np.uint8], uv: FloatArray) -> FloatArray:
    """Look up colors in a texture, bilinear, the texture repeating beyond [0, 1].

    Args:
        texture: (h, w, 3) uint8 RGB.
        uv: (N, 2), origin at its lower left.

    Returns:
        (N, 3) float32 RGB in [0, 255].
    """
    height, width = texture.shape[:2]
    x = uv[:, 0] * width - 0.5
    y = (1.0 - uv[:, 1]) * height - 0.5
    left, top = np.floor(x), np.floor(y)
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    x0, y0 = left.astype(np.int64) % width, top.astype(np.int64) % height
    x1, y1 = (x0 + 1) % width, (y0 + 1) % height
    upper = texture[y0, x0] * (1 - fx) + texture[y0, x1] * fx
    lower = texture[y1, x0] * (1 - fx) + texture[y1, x1] * fx
    return (upper * (1 - fy) + lower * fy).astype(np.float32)


def _normals(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """Compute unit normals of faces (F, 3) and of corners (F, 3, 3).

    Those of corners are smooth across edges that bend less than SMOOTH_BELOW_DEG and sharp across the others.

    Around each vertex, the corners that smooth edges connect share the area-weighted mean of their faces' normals.
    """
    corners = vertices[faces]
    area_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    face_normals = _unit(area_normals)

    # Vertices split along texture seams are one point in space.
    _, points = np.unique(vertices.astype(np.float32), axis=0, return_inverse=True)
    faces = points.reshape(-1)[faces]

    start = faces.reshape(-1)
    end = np.roll(faces, -1, axis=1).reshape(-1)
    start_corner = np.arange(faces.size)
    end_corner = np.roll(start_corner.reshape(-1, 3), -1, axis=1).reshape(-1)
    swap = start > end
    low, high = np.where(swap, end, start), np.where(swap, start, end)
    low_corner = np.where(swap, end_corner, start_corner)
    high_corner = np.where(swap, start_corner, end_corner)

    order = np.lexsort((high, low))
    same = (low[order][1:] == low[order][:-1]) & (high[order][1:] == high[order][:-1])
    first, second = order[:-1][same], order[1:][same]
    cosine = np.einsum("ij,ij->i", face_normals[first // 3], face_normals[second // 3])
    smooth = cosine > np.cos(np.radians(SMOOTH_BELOW_DEG))
    first, second = first[smooth], second[smooth]

    rows = np.concatenate([low_corner[first], high_corner[first]])
    columns = np.concatenate([low_corner[second], high_corner[second]])
    links = coo_matrix((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(faces.size, faces.size))
    count, group = connected_components(links, directed=False)
    per_corner = np.repeat(area_normals, 3, axis=0)
    summed = np.stack([np.bincount(group, weights=per_corner[:, axis], minlength=count) for axis in range(3)], axis=1)
    return face_normals.astype(np.float32), _unit(summed)[group].reshape(-1, 3, 3).astype(np.float32)


def _unit(vectors: NDArray[Any]) -> NDArray[Any]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-30)


def has_color(visual: Any) -> bool:
    """Check whether a mesh has any color of its own.

    Args:
        visual: Of a trimesh mesh, or None.
    """
    kind = None if visual is None else visual.kind
    if kind != "texture":
        return kind is not None
    material = visual.material
    if _image(material) is not None:
        return visual.uv is not None
    if hasattr(material, "baseColorFactor"):
        return material.baseColorFactor is not None
    # trimesh gives this gray to what has none
    return not np.array_equal(np.asarray(material.main_color)[:3], trimesh_default_gray())


def trimesh_default_gray() -> NDArray[np.uint8]:
    """Return the RGB (3,) uint8 that trimesh gives to what has no color."""
    from trimesh.visual.color import DEFAULT_COLOR

    return np.asarray(DEFAULT_COLOR, np.uint8)[:3]


def _corner_colors(visual: Any, faces: NDArray[np.int64]) -> FloatArray:
    kind = None if visual is None else visual.kind
    if kind == "vertex":
        return np.asarray(visual.vertex_colors, dtype=np.float32)[:, :3][faces]
    if kind == "face":
        return np.repeat(np.asarray(visual.face_colors, dtype=np.float32)[:, None, :3], 3, axis=1)
    if kind == "texture" and has_color(visual) and _image(visual.material) is None:
        color = np.asarray(visual.material.main_color, dtype=np.float32)[:3]
        if hasattr(visual.material, "baseColorFactor"):  # of glTF: linear
            color = np.rint(255 * srgb_of_linear(color / 255)).astype(np.float32)
        return np.broadcast_to(color, (len(faces), 3, 3)).astype(np.float32)
    return np.full((len(faces), 3, 3), DEFAULT_GRAY, dtype=np.float32)


def _texture(visual: Any, faces: NDArray[np.int64]) -> tuple[FloatArray | None, NDArray[np.uint8] | None]:
    if visual is None or visual.kind != "texture" or visual.uv is None:
        return None, None
    image = _image(visual.material)
    if image is None:
        return None, None
    image = rgb_picture(image)
    # Smaller texels than the picture's pixels only add noise. The shorter side, as an atlas is a column of pictures.
    shrink = min(image.width, image.height) / MAX_TEXTURE_PX
    if shrink > 1:
        image = image.reduce(int(np.ceil(shrink)))
    texture = np.asarray(image, dtype=np.uint8)
    factor = getattr(visual.material, "baseColorFactor", None)
    if factor is not None and (np.asarray(factor)[:3] < 255).any():
        texture = _tinted(texture, np.asarray(factor)[:3] / 255)
    return np.asarray(visual.uv, dtype=np.float32)[:, :2][faces], texture


def _tinted(texture: NDArray[np.uint8], factor: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Multiply a texture by a color (3,) in [0, 1], which glTF does in linear light."""
    linear = linear_of_srgb(np.arange(256) / 255)
    tables = [np.rint(255 * srgb_of_linear(linear * scale)).astype(np.uint8) for scale in factor]
    return np.stack([table[texture[..., channel]] for channel, table in enumerate(tables)], axis=-1)


def _image(material: Any) -> Any:
    """Return the color image of a trimesh material (PIL), or None."""
    picture = getattr(material, "baseColorTexture", None)
    return picture if picture is not None else getattr(material, "image", None)
