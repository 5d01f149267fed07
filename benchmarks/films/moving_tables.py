"""Tables on which something moves: what the benchmark of tracking looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from films.film_files import Film
from ism_ros.sim.benchmark_scenes.known_objects import SceneObject, make_scene_object
from ism_ros.sim.benchmark_scenes.moving_scene import MovingBody, MovingScene, PoseOverTime
from ism_ros.sim.benchmark_scenes.table_scene import Scene, make_scene
from ism_ros.sim.synthesis.camera_poses import look_at

Array = NDArray[np.float64]

HAND = "hand"
"""Name of what moves objects and hides them."""
LIFT_S, AWAY_S = 0.5, 1.0
"""How long taking an object away, and putting it back, lasts; and how long it is away, seconds."""
MAX_CANDIDATES = 400
"""Tables that are looked at until one fits a film."""


def smooth_step(time_s: float, start_s: float, end_s: float) -> float:
    """Go from 0 to 1 between two times, without a jerk."""
    share = float(np.clip((time_s - start_s) / (end_s - start_s), 0, 1))
    return share * share * (3 - 2 * share)


def moved(pose: Array, shift_m: Array, turn_rad: float = 0.0) -> Array:
    """Move a pose in the world and turn it about the vertical through its own origin."""
    out = pose.copy()
    out[:3, :3] = Rotation.from_euler("z", turn_rad).as_matrix() @ pose[:3, :3]
    out[:3, 3] += shift_m
    return out


def still(pose: Array) -> PoseOverTime:
    """Stay where it is."""
    return lambda time_s: pose


def five_objects(number: int, known: Sequence[SceneObject]) -> Scene:
    """Make a table with the known objects alone, none upon another."""
    for seed in range(50_000 + MAX_CANDIDATES * number, 50_000 + MAX_CANDIDATES * (number + 1)):
        scene = make_scene(seed, known, objects=(5, 5), known_in_scene=(5, 5))
        if len(scene.placed) == 5 and len({placed.scene_object.name for placed in scene.placed}) == 5:
            return scene
    raise RuntimeError(f"no table of five objects for number {number}")


def make_hand() -> SceneObject:
    """Make something like a hand with a forearm, its fingers down, along z, the arm towards +y."""
    parts = [trimesh.creation.icosphere(subdivisions=2, radius=1.0)]
    parts[0].apply_scale((0.045, 0.05, 0.02))
    for x in (-0.03, -0.01, 0.01, 0.03):
        finger = trimesh.creation.capsule(height=0.06, radius=0.009, count=[8, 12])
        finger.apply_translation((x, -0.035, -0.065))
        parts.append(finger)
    arm = trimesh.creation.capsule(height=0.35, radius=0.03, count=[8, 16])
    arm.apply_transform(trimesh.transformations.rotation_matrix(-np.pi / 2 + 0.5, (1, 0, 0)))
    arm.apply_translation((0, 0.03, 0.0))
    parts.append(arm)
    mesh = trimesh.util.concatenate(parts)
    skin = np.tile((205, 150, 120, 255), (len(mesh.vertices), 1))
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=skin)
    mesh.metadata.update(name=HAND, shine=0.0)
    return make_scene_object(mesh)


def films(known: Sequence[SceneObject], trials: dict[str, int]) -> Iterator[Film]:
    """Make the films.

    Args:
        known: Five known objects.
        trials: How many of each kind, by name: camera, pushed, hidden, taken, crossing.

    Yields:
        The films.
    """
    makers: dict[str, Callable[[int, Sequence[SceneObject]], tuple[MovingScene, float]]] = {
        "camera": camera_in_hand,
        "pushed": pushed,
        "hidden": hidden,
        "taken": taken,
        "crossing": crossing,
    }
    for kind, count in trials.items():
        for number in range(count):
            yield Film(f"{kind}_{number}", *makers[kind](number, known))


def camera_in_hand(number: int, known: Sequence[SceneObject]) -> tuple[MovingScene, float]:
    """A table at rest, the camera held in a hand: up to 0.25 m/s and 25 degrees a second."""
    scene = five_objects(number, known)
    camera_to_world = np.linalg.inv(scene.world_to_camera)
    eye, forward = camera_to_world[:3, 3], camera_to_world[:3, 2]
    target = eye + forward * (-eye[2] / forward[2])

    def world_to_camera(time_s: float) -> Array:
        phase = 2 * np.pi * time_s
        start = smooth_step(time_s, 0.3, 1.0)
        swing = np.array((0.07 * np.sin(0.5 * phase), 0.05 * np.sin(0.37 * phase), 0.04 * np.sin(0.61 * phase)))
        shake = np.array((0.02 * np.sin(0.8 * phase), 0.015 * np.sin(0.67 * phase), 0))
        return look_at(eye + start * swing, target + start * shake, roll=start * 0.1 * np.sin(0.45 * phase))

    bodies = [MovingBody(one.scene_object, still(one.object_to_world), True) for one in scene.placed]
    return _moving(scene, bodies, world_to_camera), 5.0


def pushed(number: int, known: Sequence[SceneObject]) -> tuple[MovingScene, float]:
    """One object is pushed over the table, 12 cm in 0.8 s and back, and turns by 50 degrees."""
    scene = five_objects(10 + number, known)
    chosen = number % 5
    way = _free_way(scene, chosen, 0.12)

    def push(time_s: float) -> Array:
        share = smooth_step(time_s, 0.5, 1.3) - smooth_step(time_s, 1.7, 2.5)
        return moved(scene.placed[chosen].object_to_world, share * way, np.deg2rad(50) * share)

    bodies = [MovingBody(one.scene_object, still(one.object_to_world), True) for one in scene.placed]
    bodies[chosen] = MovingBody(scene.placed[chosen].scene_object, push, True)
    return _moving(scene, bodies), 3.0


def hidden(number: int, known: Sequence[SceneObject]) -> tuple[MovingScene, float]:
    """A hand passes over the table and hides one object after the other."""
    scene = five_objects(20 + number, known)
    hand = make_hand()
    right, up = _camera_axes(scene)
    middle = np.mean([one.object_to_world[:3, 3] for one in scene.placed], axis=0)

    def pass_over(time_s: float) -> Array | None:
        share = np.sin(np.pi * smooth_step(time_s, 0.4, 2.8) * 1.0) * 2 - 1 if time_s < 2.9 else -1
        at = middle + 0.32 * share * right + np.array((0, 0, 0.16)) - 0.05 * up
        return _hand_pose(scene, at)

    bodies = [MovingBody(one.scene_object, still(one.object_to_world), True) for one in scene.placed]
    return _moving(scene, [*bodies, MovingBody(hand, pass_over, False)]), 3.2


def taken(number: int, known: Sequence[SceneObject]) -> tuple[MovingScene, float]:
    """A hand takes an object out of view and puts it back, turned, up to 6 cm away from where it was."""
    scene = five_objects(30 + number, known)
    hand, chosen, rng = make_hand(), number % 5, np.random.default_rng([17, number])
    first, name = scene.placed[chosen], scene.placed[chosen].scene_object
    way = _free_way(scene, chosen, float(rng.uniform(0.0, 0.06)))
    again = moved(first.object_to_world, way, float(rng.uniform(-1.5, 1.5)))
    right, _ = _camera_axes(scene)
    away = np.array((0, 0, 0.25)) + 0.75 * right * (1 if number % 2 else -1)
    gone_s, back_s = 0.6 + LIFT_S, 0.6 + LIFT_S + AWAY_S

    def carried(time_s: float) -> Array | None:
        if time_s < gone_s:
            return moved(first.object_to_world, away * smooth_step(time_s, 0.6, gone_s + 0.1))
        if time_s < back_s:
            return None
        return moved(again, away * (1 - smooth_step(time_s, back_s - 0.1, back_s + LIFT_S)))

    def holding(time_s: float) -> Array | None:
        at = carried(time_s)
        if at is None:
            return None
        # it comes in, holds, and draws back after it has let go
        let_go_s = back_s + LIFT_S
        is_coming = time_s < gone_s
        aside = 1 - smooth_step(time_s, 0.2, 0.55) if is_coming else smooth_step(time_s, let_go_s, let_go_s + 0.3)
        top = (name.surface.triangles_m.reshape(-1, 3) @ at[:3, :3].T)[:, 2].max()
        return _hand_pose(scene, at[:3, 3] + np.array((0, 0, top + 0.06)) + 1.2 * aside * away)

    others = [one for index, one in enumerate(scene.placed) if index != chosen][:2]
    bodies = [MovingBody(one.scene_object, still(one.object_to_world), True) for one in others]
    bodies += [MovingBody(first.scene_object, carried, True), MovingBody(hand, holding, False)]
    return _moving(scene, bodies), back_s + LIFT_S + 1.1


def crossing(number: int, known: Sequence[SceneObject]) -> tuple[MovingScene, float]:
    """Two equal objects pass each other, one behind the other as the camera sees them, beside two at rest."""
    scene = five_objects(50 + number, known)
    twin = scene.placed[number % 5]
    rng = np.random.default_rng([19, number])
    right, up = _camera_axes(scene)
    corners = twin.scene_object.surface.triangles_m.reshape(-1, 3) @ twin.object_to_world[:3, :3].T
    size = float(np.ptp(corners, axis=0)[:2].max())
    between = 0.5 * size + float(rng.uniform(0.02, 0.05))
    end_s = float(rng.uniform(1.2, 1.5))

    def way(side: float, behind: float, turn: float) -> PoseOverTime:
        start = twin.object_to_world.copy()
        start[:2, 3] = 0

        def at(time_s: float) -> Array:
            share = 2 * smooth_step(time_s, 0.3, end_s) - 1
            return moved(start, side * share * 0.11 * right + behind * between * up, turn * (share + 1) / 2 + behind)

        return at

    turns = rng.uniform(-0.6, 0.6, 2)
    bodies = [
        MovingBody(twin.scene_object, way(1.0, -0.5, float(turns[0])), True),
        MovingBody(twin.scene_object, way(-1.0, 0.5, float(turns[1])), True),
    ]
    return _moving(scene, bodies), 1.8


def _moving(
    scene: Scene, bodies: Sequence[MovingBody], world_to_camera: Callable[[float], Array] | None = None
) -> MovingScene:
    return MovingScene(
        scene.room,
        bodies,
        scene.camera,
        world_to_camera or (lambda time_s: scene.world_to_camera),
        scene.lighting,
        scene.sun_direction,
    )


def _camera_axes(scene: Scene) -> tuple[Array, Array]:
    """Directions on the table in which the camera sees right and up."""
    right = scene.world_to_camera[0, :3].copy()
    right[2] = 0
    right /= np.linalg.norm(right)
    return right, np.array((-right[1], right[0], 0.0))


def _hand_pose(scene: Scene, at: Array) -> Array:
    """A hand at a place, its arm to the right of the picture and up."""
    right, up = _camera_axes(scene)
    along = 0.8 * right + 0.6 * up
    pose = np.eye(4)
    pose[:3, 1], pose[:3, 2] = along, (0, 0, 1)
    pose[:3, 0] = np.cross(along, (0, 0, 1))
    pose[:3, 3] = at
    return pose


def _free_way(scene: Scene, chosen: int, length_m: float) -> Array:
    """The direction in which the other objects are farthest away, times a length."""
    start = scene.placed[chosen].object_to_world[:3, 3]
    others = np.array([one.object_to_world[:2, 3] for index, one in enumerate(scene.placed) if index != chosen])
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ways = length_m * np.stack([np.cos(angles), np.sin(angles), np.zeros(24)], axis=1)
    ends = start + ways
    distance = np.linalg.norm(ends[:, None, :2] - others, axis=2).min(axis=1)
    in_middle = np.linalg.norm(ends[:, :2], axis=1)
    return ways[int((distance - 0.5 * in_middle).argmax())]
