"""Options that say which objects to look for: CAD models and templates, or an objects file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ism_ros.cad.colors import colour_text, parse_colour
from ism_ros.cad.units import DEFAULT_UNITS, UNITS_TEXT, checked_units, resolve_units
from ism_ros.cli import options
from ism_ros.objects.resource_uri import resolve_path
from ism_ros.objects.spec import ObjectSpec, parse_objects, read_text

AUTO_UNITS = "auto"
"""Value of --units by which each CAD model has its own, as of `resolve_units`."""


@dataclass(frozen=True)
class ObjectOptions:
    """Options that say which objects to look for.

    Attributes:
        cad: CAD models; None = none, as of all others.
        templates: Template folders, each of the CAD model at the same position.
        units: Of the CAD models, or AUTO_UNITS.
        color: The one colour of the CAD models.
        objects: Objects file, instead of CAD models.
        object_id: Ids of the only objects to look for.
    """

    cad: Annotated[list[Path] | None, typer.Option(help="CAD model to look for; may be given again.")] = None
    templates: Annotated[
        list[Path] | None,
        typer.Option(help="Template folder of the CAD model given at the same position, instead of rendering it."),
    ] = None
    units: Annotated[
        str,
        typer.Option(
            help=f"Units of the CAD models: {UNITS_TEXT}, or auto (glTF metres, others {DEFAULT_UNITS} as in BOP)."
        ),
    ] = AUTO_UNITS
    color: options.Color = None
    objects: Annotated[Path | None, typer.Option(help="objects.yaml, instead of --cad.")] = None
    object_id: Annotated[
        list[str] | None,
        typer.Option("--object", help="Look only for this one of the objects; may be given again."),
    ] = None

    def specs(self) -> list[ObjectSpec]:
        """Make the objects that --cad and --templates name; the name of the file is the id.

        Returns:
            The objects in the order of the options.

        Raises:
            ValueError: The options do not fit together.
        """
        cad, templates = self.cad or [], self.templates or []
        if self.units != AUTO_UNITS:
            checked_units(self.units)
        if self.color is not None and not cad:
            raise ValueError("--color is for --cad; objects.yaml has a color for each of its objects")
        if len(templates) > max(len(cad), 1):
            raise ValueError(
                f"--templates was given {len(templates)} times but --cad {len(cad)} times; give one of each an object"
            )
        specs = []
        for position in range(max(len(cad), len(templates))):
            file = resolve_path(str(cad[position]), Path()) if position < len(cad) else None
            specs.append(self._spec(position, file, templates[position] if position < len(templates) else None))
        if len({spec.id for spec in specs}) != len(specs):
            raise ValueError(
                "two CAD models have the same file name; use --objects objects.yaml to give them ids of their own"
            )
        return specs

    def request_fields(self) -> dict[str, Any]:
        """Make the fields of a request to a server that say which objects to look for.

        Returns:
            Fields of the JSON request.

        Raises:
            ValueError: A server does not take these options together.
        """
        specs = self.specs()
        if len(specs) > 1:
            raise ValueError(
                "a server looks for one --cad a request: start it with --objects objects.yaml, and choose by "
                "--object ID"
            )
        if specs and (self.objects is not None or self.object_id):
            raise ValueError("with --server give --cad and --templates, or --objects and --object, not both")
        if specs:
            (spec,) = specs
            return options.given(
                cad_path=None if spec.cad is None else str(spec.cad),
                template_dir=None if spec.templates is None else str(spec.templates),
                cad_units=None if self.units == AUTO_UNITS else self.units,
                cad_color=None if spec.color is None else colour_text(spec.color),
            )
        if self.object_id:
            return {"object_ids": self.object_id}
        if self.objects is not None:
            # the server has files of its own for them
            listed = parse_objects(read_text(self.objects), self.objects, check_files=False)
            return {"object_ids": [spec.id for spec in listed]}
        return {}

    def _spec(self, position: int, file: Path | None, folder: Path | None) -> ObjectSpec:
        named = file if file is not None else folder
        assert named is not None
        return ObjectSpec(
            id=_printable(named.stem),
            cad=file,
            units=resolve_units(file, None if self.units == AUTO_UNITS else self.units),
            templates=folder,
            category_id=position + 1,
            color=None if self.color is None or file is None else parse_colour(self.color),
        )


def _printable(name: str) -> str:
    """Decode the name of a file: under a locale that is not UTF-8 it holds bytes that no message can."""
    return os.fsencode(name).decode("utf-8", "replace")
