"""Following of verified instances from frame to frame by their poses alone, beside the search for new ones.

`follow` takes each frame: every instance is predicted with constant velocity, fitted to the depth and the outline of
its region (pose_fitting), and judged by the evidence (lost_detection). What the evidence is against is lost at once and
has no pose. `merge` takes what the search found in some earlier frame: detections are matched with the
instances as they were then, and what is new is moved to now with the rest of the scene; the next `follow` confirms it
or drops it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ism_ros.data.detections import Detections
from ism_ros.data.frame import Frame
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.library import ObjectLibrary
from ism_ros.refinement.depth_noise import MIN_INVERSE_NOISE, estimate_inverse_noise
from ism_ros.tracking.followed_instance import FollowedInstance
from ism_ros.tracking.ids import is_time_jump, next_id
from ism_ros.tracking.instance_matching import match_detections
from ism_ros.tracking.lost_detection import is_seen
from ism_ros.tracking.motion_model import STILL, Motion, RigidMotion, common_motion
from ism_ros.tracking.pose_fitting import FittedPoses, PredictedPose, fit_poses, radius_of
from ism_ros.tracking.region_colors import RegionColors
from ism_ros.tracking.tracked_detections import tracked_detections
from ism_ros.verification.pair_choice import can_be_verified

NOISE_PERIOD = 30
"""Frames after which the noise of the camera is estimated anew."""
RETRY_S = 1.0
"""How long a lost instance is looked for where it is supposed to be, seconds; after that, by the search alone."""
FORGOTTEN_S = 20.0
"""How long a lost instance keeps its id, seconds."""
RIVAL_MARGIN = 0.08
"""Score by which the pose of the search must be the better one to replace a followed pose."""
SAME_PLACE = 0.35
"""Distance of two instances, in radii of the smaller object, up to which they are one."""


@dataclass(frozen=True)
class FollowedFrame:
    """What was followed in a frame.

    Attributes:
        detections: The followed instances, with their ids.
        lost: (id, class id) of the instances that are lost, until they are found again or forgotten.
    """

    detections: Detections
    lost: tuple[tuple[int, str], ...]


class PoseTracker:
    """Follows instances. Not for several threads at once.

    Attributes:
        instances: Those that are followed, found but not yet confirmed, or lost and not yet forgotten.
    """

    def __init__(self) -> None:
        """Start without instances."""
        self.instances: list[FollowedInstance] = []
        self._rivals: dict[int, Motion] = {}
        self._last_id = 0
        self._newest_ns: int | None = None
        self._inverse_noise = MIN_INVERSE_NOISE
        self._frames = 0

    def reset(self) -> None:
        """Forget all instances; ids go on where they were."""
        self.instances, self._rivals, self._newest_ns = [], {}, None

    @torch.inference_mode()
    def follow(self, frame: Frame, library: ObjectLibrary) -> FollowedFrame:
        """Follow all instances into a frame.

        Stamps that jump (ids.JUMP_BACK_S, ids.JUMP_AHEAD_S) forget all of them; instances of objects that are no longer
        known are forgotten. Without depth all are lost.

        Args:
            frame: Newer than the last.
            library: The known objects.

        Returns:
            What was followed.
        """
        if self._newest_ns is not None and is_time_jump(self._newest_ns, frame.stamp_ns):
            self.reset()
        self._newest_ns = frame.stamp_ns
        self.instances = [one for one in self.instances if self._is_kept(one, library, frame.stamp_ns)]
        poses = self._poses(library, frame.stamp_ns) if frame.has_depth else []
        fitted = self._fit(poses, frame) if poses else None
        before = list(self.instances)
        chosen = self._choose(poses, fitted, frame.stamp_ns)
        self._move_lost(before, library, frame.stamp_ns)
        self._rivals = {}
        rows = [index for index, row in enumerate(chosen) if row is not None]
        numbers = [row for row in chosen if row is not None]
        kept = [self.instances[index] for index in rows]
        detections = tracked_detections(kept, fitted.evidence if fitted else None, numbers, frame, library)
        lost = tuple((one.id, one.class_id) for one in self.instances if one.state == "lost")
        return FollowedFrame(detections, lost)

    @torch.inference_mode()
    def merge(self, detections: Detections, stamp_ns: int, library: ObjectLibrary) -> None:
        """Take over what the search found.

        Args:
            detections: Of an earlier frame, on the CPU. Those without a pose, and of objects that cannot be followed,
                are left out.
            stamp_ns: Stamp of that frame.
            library: The known objects.
        """
        now_ns = self._newest_ns if self._newest_ns is not None else stamp_ns
        if is_time_jump(stamp_ns, now_ns):
            return
        by_id = {known.id: known for known in library.objects if can_be_verified(known)}
        posed = detections.rotation.isfinite().flatten(1).all(dim=1) & detections.translation_m.isfinite().all(dim=1)
        rows = [row for row in torch.nonzero(posed)[:, 0].tolist() if detections.class_id(row) in by_id]
        found = [_motion_of(detections, row, by_id[detections.class_id(row)], stamp_ns) for row in rows]
        names = [detections.class_id(row) for row in rows]
        radii_m = [radius_of(by_id[name]) for name in names]
        matched = match_detections(self.instances, names, found, radii_m, stamp_ns, now_ns)
        scene = self._scene_motion(stamp_ns, by_id)
        found_again = set(matched.values())
        self.instances = [
            one.searched(index in found_again) if one.is_mostly_visible else one
            for index, one in enumerate(self.instances)
        ]
        for number, row in enumerate(rows):
            index = matched.get(number)
            if index is None:
                self._add(detections[[row]], scene, found[number], now_ns)
            else:
                self._confirm(index, detections[[row]], scene, found[number], now_ns)
        self.instances, self._rivals = self._without_doubtful()

    def _without_doubtful(self) -> tuple[list[FollowedInstance], dict[int, Motion]]:
        """Lose what is doubtful, and forget it where it was never confirmed."""
        kept = [index for index, one in enumerate(self.instances) if one.is_confirmed or not one.is_doubtful]
        rivals = {new: self._rivals[old] for new, old in enumerate(kept) if old in self._rivals}
        left = [self.instances[index] for index in kept]
        return [one.missed() if one.is_doubtful else one for one in left], rivals

    def _is_kept(self, one: FollowedInstance, library: ObjectLibrary, now_ns: int) -> bool:
        if one.class_id not in library.ids or not can_be_verified(library.objects[library.ids.index(one.class_id)]):
            return False
        return one.state != "lost" or now_ns - one.seen_ns < FORGOTTEN_S * 1e9

    def _poses(self, library: ObjectLibrary, now_ns: int) -> list[PredictedPose]:
        poses = []
        for index, one in enumerate(self.instances):
            known = library.objects[library.ids.index(one.class_id)]
            if one.state != "lost" or now_ns - one.seen_ns < RETRY_S * 1e9:
                poses.append(PredictedPose(index, known, *one.motion.predicted(now_ns), is_rival=False))
            if index in self._rivals:
                rival = self._rivals[index]
                poses.append(PredictedPose(index, known, rival.rotation, rival.centre_m, is_rival=True))
        return poses

    def _fit(self, wanted: Sequence[PredictedPose], frame: Frame) -> FittedPoses:
        assert frame.depth_m is not None
        if self._frames % NOISE_PERIOD == 0:
            self._inverse_noise = estimate_inverse_noise(frame.depth_m)
        self._frames += 1
        return fit_poses(wanted, [self.instances[one.instance].colors for one in wanted], frame, self._inverse_noise)

    def _choose(self, wanted: Sequence[PredictedPose], fitted: FittedPoses | None, now_ns: int) -> list[int | None]:
        """Take the best pose of each instance, and lose those that have none.

        Returns:
            Of each instance the row of its pose, None where it is not followed.
        """
        chosen: list[int | None] = [None] * len(self.instances)
        if fitted is not None:
            for row, pose in enumerate(wanted):
                if not is_seen(fitted.terms[row], self.instances[pose.instance].usual):
                    continue
                other = chosen[pose.instance]
                if other is None or fitted.scores[row] > fitted.scores[other] + RIVAL_MARGIN:
                    chosen[pose.instance] = row
            self._drop_shared(chosen, wanted, fitted)
        updated: list[FollowedInstance] = []
        is_dropped: list[bool] = []
        for index, one in enumerate(self.instances):
            place = chosen[index]
            if place is not None and fitted is not None:
                updated.append(self._seen(one, wanted[place], fitted, place, now_ns))
                is_dropped.append(False)
                continue
            # what was never followed, or found once alone, was probably never there
            is_dropped.append(one.state == "candidate" or not one.is_confirmed)
            if not is_dropped[-1]:
                updated.append(one if one.state == "lost" else one.missed())
        self.instances = updated
        return [row for row, dropped in zip(chosen, is_dropped, strict=True) if not dropped]

    def _drop_shared(self, chosen: list[int | None], wanted: Sequence[PredictedPose], fitted: FittedPoses) -> None:
        """Where two are in one place, the one that is followed stays; of two such the one with more evidence."""
        order = sorted(
            ((index, row) for index, row in enumerate(chosen) if row is not None),
            key=lambda pair: (self.instances[pair[0]].state != "followed", -fitted.scores[pair[1]]),
        )
        kept: list[int] = []
        for index, row in order:
            centre_m, radius_m = fitted.poses.centre_m[row], radius_of(wanted[row].known)
            if any(
                float((fitted.poses.centre_m[other] - centre_m).norm())
                < SAME_PLACE * min(radius_m, radius_of(wanted[other].known))
                for other in kept
            ):
                chosen[index] = None
            else:
                kept.append(row)

    def _seen(
        self, one: FollowedInstance, pose: PredictedPose, fitted: FittedPoses, row: int, now_ns: int
    ) -> FollowedInstance:
        rotation, centre_m = fitted.poses.rotation[row].double().numpy(), fitted.poses.centre_m[row].double().numpy()
        starts_anew = pose.is_rival or one.state != "followed"
        covariance = fitted.covariances[row].double().numpy()
        motion = Motion.at_rest(rotation, centre_m, now_ns)
        if not starts_anew:
            motion = one.motion.corrected(rotation, centre_m, now_ns, covariance)
        regions, colors = fitted.regions, one.colors
        if fitted.terms[row]["hidden"] < 0.5:
            colors = colors.updated(fitted.colors[row], regions.background[row])
        return replace(one.seen(motion, fitted.terms[row]), colors=colors, covariance=covariance)

    def _move_lost(self, before: Sequence[FollowedInstance], library: ObjectLibrary, now_ns: int) -> None:
        """Keep lost instances where they are in the scene while the camera moves."""
        if not any(one.state == "lost" for one in self.instances):
            return
        last = {one.id: one for one in before if one.state == "followed"}
        pairs, radii_m = [], []
        for one in self.instances:
            if one.state == "followed" and one.id in last:
                pairs.append((last[one.id].motion, one.motion))
                radii_m.append(radius_of(library.objects[library.ids.index(one.class_id)]))
        motion = common_motion(pairs, radii_m) if pairs else STILL
        self.instances = [
            replace(one, motion=one.motion.moved(motion, now_ns)) if one.state == "lost" else one
            for one in self.instances
        ]

    def _scene_motion(self, stamp_ns: int, by_id: dict[str, KnownObject]) -> RigidMotion:
        """How the scene moved from an earlier frame to the newest one."""
        followed = [one for one in self.instances if one.state == "followed" and one.class_id in by_id]
        if not followed:
            return STILL
        pairs = [(one.at(stamp_ns), one.motion) for one in followed]
        return common_motion(pairs, [radius_of(by_id[one.class_id]) for one in followed])

    def _add(self, detection: Detections, scene: RigidMotion, found: Motion, now_ns: int) -> None:
        self._last_id = next_id(self._last_id, {one.id for one in self.instances})
        self.instances.append(
            FollowedInstance(
                id=self._last_id,
                class_id=detection.class_id(0),
                state="candidate",
                motion=found.moved(scene, now_ns),
                history=(),
                colors=RegionColors.unknown(),
                detection=without_masks(detection),
                covariance=np.full((6, 6), np.nan),
                terms={},
                seen_ns=now_ns,
            )
        )

    def _confirm(self, index: int, detection: Detections, scene: RigidMotion, found: Motion, now_ns: int) -> None:
        one = self.instances[index]
        self.instances[index] = replace(one, detection=without_masks(detection))
        own = scene
        if one.state == "followed":
            before = one.at(found.stamp_ns)
            turn = one.motion.rotation @ before.rotation.T
            own = RigidMotion(turn, one.motion.centre_m - turn @ before.centre_m)
        self._rivals[index] = found.moved(own, now_ns)


def without_masks(detection: Detections) -> Detections:
    """Forget the mask (1, H, W) of a detection, which is large and of an earlier frame."""
    return replace(detection, masks=detection.masks[:, :0, :0])


def _motion_of(detections: Detections, row: int, known: KnownObject, stamp_ns: int) -> Motion:
    rotation = detections.rotation[row].double().numpy()
    centre_m = rotation @ known.centre_m.numpy() + detections.translation_m[row].double().numpy()
    return Motion.at_rest(rotation, centre_m, stamp_ns)
