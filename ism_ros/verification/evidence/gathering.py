"""Evidence for and against poses: what the camera should see if the object were there, and what it does see.

Each of H poses is rendered into a window of G x G cells around its silhouette, from samples of the object's surface.
With z the depth of the model in a cell, d the reading there, t the tolerance and c the cosine between the surface and
the viewing direction, a cell with a reading is

    agreeing   |d - z| c < t            the surface is where it should be
    hidden     (z - d) c > t            something nearer is before it: neutral
    missing    (d - z) c > t            the camera looks through where the surface should be: against

At the rim of the silhouette, readings may be of what is behind: there, missing ones are neutral and not part of the
object's outline. Of N masks each pose explains one.

What computes it: compiled loops on the CPU (compiled_evidence), operations of PyTorch on a GPU (torch_evidence).

H poses, N masks, G cells a side.
"""

from __future__ import annotations

from torch import Tensor

from ism_ros.refinement.observed_masks import ObservedMasks
from ism_ros.refinement.pose_batch import PoseBatch
from ism_ros.runtime.compilation import is_compiled_for
from ism_ros.verification.evidence import compiled_evidence, torch_evidence
from ism_ros.verification.evidence.terms import Evidence, ObjectSamples
from ism_ros.verification.observed_image import ObservedImage


def gather_evidence(
    poses: PoseBatch, objects: ObjectSamples, observed: ObservedMasks, masks: Tensor, image: ObservedImage
) -> Evidence:
    """Render poses and compare them with the image.

    Args:
        poses: H poses.
        objects: Samples of the object of each pose.
        observed: Depth and masks.
        masks: (N, H, W) bool.
        image: The color image.

    Returns:
        The evidence.
    """
    way = compiled_evidence if is_compiled_for(poses.cost) else torch_evidence
    return way.gather_evidence(poses, objects, observed, masks, image)
