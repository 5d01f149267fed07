"""The objects of the bundled sample scene."""

from __future__ import annotations

from ism_ros.objects.spec import ObjectSpec, read_objects_file
from ism_ros.selftest.self_test import SCENE

SAMPLE_PREFIX = "sample:"
"""What the ids of these objects start with."""


def sample_specs() -> dict[str, ObjectSpec]:
    """Read the objects of the sample scene.

    Returns:
        The objects by their ids at the server, "sample:..." each.
    """
    return {
        SAMPLE_PREFIX + spec.id: ObjectSpec(
            SAMPLE_PREFIX + spec.id, spec.cad, spec.units, spec.templates, spec.category_id
        )
        for spec in read_objects_file(SCENE / "objects.yaml")
    }
