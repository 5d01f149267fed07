"""Objects that requests name by the paths of their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ism_ros.cad.colors import Rgb
from ism_ros.cad.units import resolve_units
from ism_ros.objects.spec import ObjectSpec


@dataclass(frozen=True)
class PathObject:
    """An object that a request names by path: a template folder, a CAD file, or both.

    Attributes:
        template_dir: SAM-6D template folder, or None.
        cad_path: CAD file, or None.
        cad_units: Units of the CAD file as the request has them; None = what its format means.
        root: Folder that the files which the CAD file names must lie in; None = any.
        cad_color: The one color of the CAD model instead of its own, or None.
    """

    template_dir: Path | None
    cad_path: Path | None
    cad_units: str | None = None
    root: Path | None = None
    cad_color: Rgb | None = None

    def spec(self) -> ObjectSpec:
        """Return the object as of objects.yaml, with the name of the CAD file (or of the folder) as its id."""
        cad = self.cad_path
        named = cad if cad is not None else self.template_dir
        assert named is not None
        units = resolve_units(cad, self.cad_units)
        color = None if cad is None else self.cad_color
        return ObjectSpec(named.stem, cad, units, self.template_dir, category_id=1, color=color, root=self.root)
