"""Random compositions of shapes: parts attached to a body, bars, carved bodies, and the parts of one object."""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.typing import NDArray

from training.training_scenes.random_shapes import (
    Rng,
    base,
    box,
    cone,
    cylinder,
    revolved,
    superquadric,
    sweep_circle,
    turned,
)

Array = NDArray[np.float64]


def _rotated_to_axis(mesh: trimesh.Trimesh, rng: Rng) -> trimesh.Trimesh:
    turn = np.eye(4)
    turn[:3, :3] = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
    if np.linalg.det(turn[:3, :3]) < 0:
        turn[:3, :3] *= -1
    return mesh.apply_transform(turn)


def handle(rng: Rng, of: trimesh.Trimesh) -> trimesh.Trimesh:
    """Make an arc at the side of a body, as of a mug.

    Args:
        rng: Source of randomness.
        of: The body.

    Returns:
        The part, placed at the body.
    """
    low, high = of.bounds
    size = (high - low)[2] * rng.uniform(0.25, 0.45)
    angle = np.linspace(-np.pi / 2 - 0.2, np.pi / 2 + 0.2, 16)
    reach = size * rng.uniform(0.6, 1.4)
    path = np.stack([high[0] * 0.93 + reach * np.cos(angle), 0 * angle, size * np.sin(angle)], 1)
    path[:, 2] += (low[2] + high[2]) / 2
    mesh = sweep_circle(path, np.full(16, (high - low).max() * rng.uniform(0.025, 0.07)))
    return mesh.apply_transform(trimesh.transformations.rotation_matrix(rng.uniform(0, 6.28), (0, 0, 1)))


def grip(rng: Rng, of: trimesh.Trimesh) -> trimesh.Trimesh:
    """Make a long straight handle of a body, as of a pan, hammer or spoon.

    Args:
        rng: Source of randomness.
        of: The body.

    Returns:
        The part, placed at the body.
    """
    low, high = of.bounds
    length = (high - low).max() * rng.uniform(0.6, 2.0)
    thick = (high - low).max() * rng.uniform(0.04, 0.16)
    mesh = superquadric(rng) if rng.random() < 0.5 else cylinder(rng)
    mesh.apply_scale((thick, thick * rng.uniform(0.5, 1), length))
    axis = int(rng.integers(3))
    mesh.apply_transform(trimesh.geometry.align_vectors((0, 0, 1), np.eye(3)[axis]))
    at = (low + high) / 2
    at[axis] = high[axis] + length * 0.42
    return mesh.apply_translation(at)


def bump(rng: Rng, of: trimesh.Trimesh) -> trimesh.Trimesh:
    """Make a smaller body half sunk into the surface: knob, button, cap, foot, fin, thin rod.

    Args:
        rng: Source of randomness.
        of: The body.

    Returns:
        The part, placed at the body.
    """
    point, face = trimesh.sample.sample_surface(of, 1, seed=int(rng.integers(1 << 30)))
    mesh = base(rng)
    share = rng.uniform(0.12, 0.5)
    mesh.apply_scale(share * (of.bounds[1] - of.bounds[0]).max())
    if rng.random() < 0.7:
        mesh.apply_transform(trimesh.geometry.align_vectors((0, 0, 1), of.face_normals[face[0]]))
    return mesh.apply_translation(point[0])


def cap(rng: Rng, of: trimesh.Trimesh) -> trimesh.Trimesh:
    """Make a part on top of a body, as a lid, nozzle or neck.

    Args:
        rng: Source of randomness.
        of: The body.

    Returns:
        The part, placed at the body.
    """
    low, high = of.bounds
    mesh = [cylinder, cone, revolved, superquadric, box][int(rng.integers(5))](rng)
    width = (high - low)[:2].min() * rng.uniform(0.2, 0.8)
    height = (high - low)[2] * rng.uniform(0.08, 0.4)
    mesh.apply_scale((width, width, height))
    return mesh.apply_translation(((low + high)[0] / 2, (low + high)[1] / 2, high[2] + 0.45 * height))


def bars(rng: Rng) -> list[trimesh.Trimesh]:
    """Make two to four boxes at right angles: brackets, letters, stools, stepped bricks.

    Args:
        rng: Source of randomness.

    Returns:
        The boxes.
    """
    parts = []
    thick = rng.uniform(0.08, 0.3)
    for _ in range(int(rng.integers(2, 5))):
        extents = rng.uniform(0.08, 0.3, 3) if rng.random() < 0.3 else np.full(3, thick)
        extents[rng.integers(3)] = rng.uniform(0.4, 1.0)
        if rng.random() < 0.4:
            extents[rng.integers(3)] = rng.uniform(0.3, 1.0)
        at = parts[-1].bounds[rng.integers(2, size=3), range(3)] if parts else np.zeros(3)
        part = trimesh.creation.box(extents=extents)
        centre = at * 0.9 + rng.choice([-0.5, 0, 0.5], 3) * extents * (1 if parts else 0)
        parts.append(part.apply_translation(centre))
    return parts


def carved(rng: Rng, mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """Cut a hole, notch or hollow out of a mesh.

    Args:
        rng: Source of randomness.
        mesh: A closed mesh.

    Returns:
        The carved mesh, or the mesh as it was where the cut fails.
    """
    tool = [cylinder, box, superquadric][int(rng.integers(3))](rng)
    size = mesh.bounds[1] - mesh.bounds[0]
    tool.apply_scale(size * rng.uniform(0.25, 0.75, 3) * np.where(rng.random(3) < 0.4, 2.5, 1))
    tool = _rotated_to_axis(tool, rng)
    tool.apply_translation(mesh.bounds.mean(axis=0) + rng.uniform(-0.5, 0.5, 3) * size)
    try:
        out = trimesh.boolean.difference([mesh, tool], engine="manifold")
    except (ValueError, ImportError):
        return mesh
    return out if len(out.faces) and out.volume > 0.2 * mesh.volume else mesh


def make_parts(rng: Rng) -> list[trimesh.Trimesh]:
    """Make the parts of one random object, each with a texture of its own later.

    Args:
        rng: Source of randomness.

    Returns:
        One to seven meshes.
    """
    kind = rng.random()
    if kind < 0.1:
        return bars(rng)
    if kind < 0.2:
        return [turned(rng)]
    body = base(rng)
    if kind < 0.33 and body.is_volume:
        body = carved(rng, body)
    parts = [body]
    if rng.random() < 0.45:
        return parts
    for maker, chance in ((cap, 0.35), (handle, 0.3), (grip, 0.3), (bump, 0.4), (bump, 0.25), (bump, 0.15)):
        if rng.random() < chance:
            parts.append(maker(rng, body))
    return parts
