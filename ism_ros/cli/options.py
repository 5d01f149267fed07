"""Options that several subcommands have: the models, the objects, and how commands take groups of options."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperCommand

from ism_ros.cad.colors import color_text, parse_color
from ism_ros.cad.units import DEFAULT_UNITS, UNITS_TEXT, checked_units, resolve_units
from ism_ros.objects.resource_uri import resolve_path
from ism_ros.objects.spec import ObjectSpec, parse_objects, read_text

if TYPE_CHECKING:
    from ism_ros.config.settings import Settings

ModelKind = Literal["segmentors", "descriptors", "matchers"]
"""What can be chosen by name."""

Config = Annotated[Path | None, typer.Option(help="YAML file of settings (config/ism.yaml lists them).")]
Profile = Annotated[
    str | None,
    typer.Option(help="embedded, fast, balanced or accurate (SAM-6D's models); left out: the embedded pair."),
]
Segmentor = Annotated[str | None, typer.Option(help="Proposals by: {segmentors}.")]
SegmentorModel = Annotated[str | None, typer.Option(help="Which of its models, or the path of a checkpoint.")]
Descriptor = Annotated[str | None, typer.Option(help="Descriptors by: {descriptors}.")]
DescriptorModel = Annotated[str | None, typer.Option(help="Which of its models, or the path of a checkpoint.")]
Scoring = Annotated[str | None, typer.Option(help="Compared by: auto, {matchers} (noctis is slower).")]
MinMaskPixels = Annotated[
    int | None,
    typer.Option(help="Least pixels of a mask, 0 = any, -1 = SAM-6D's shares of the image; default 100."),
]
Color = Annotated[
    str | None,
    typer.Option(
        help="The one color of the CAD models, instead of what their files say: '#5a78aa', '90,120,170' or a name."
    ),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda:0.")]


@dataclass(frozen=True)
class ModelOptions:
    """Options that choose the models, one field an option; None = not given.

    Attributes:
        config: YAML file of settings.
        profile: As of Settings; so are all others.
        segmentor: See there.
        segmentor_model: See there.
        descriptor: See there.
        descriptor_model: See there.
        device: See there.
    """

    config: Config = None
    profile: Profile = None
    segmentor: Segmentor = None
    segmentor_model: SegmentorModel = None
    descriptor: Descriptor = None
    descriptor_model: DescriptorModel = None
    device: Device = None

    @property
    def flags(self) -> dict[str, Any]:
        """Settings that the user gave, by name; `config` is none of them."""
        return given(**{field.name: getattr(self, field.name) for field in fields(self) if field.name != "config"})

    def load_settings(self, **more: Any) -> Settings:
        """Load the settings that these options choose.

        Args:
            more: Further flags by name, which take precedence.

        Returns:
            The settings.

        Raises:
            SettingsError: They cannot be used.
        """
        from ism_ros.config.sources import load_settings

        return load_settings(self.config, flags={**self.flags, **more})


@dataclass(frozen=True)
class SegmentationOptions(ModelOptions):
    """Options that choose the models and how proposals are compared with objects.

    Attributes:
        scoring: As of Settings; so is the other.
        min_mask_pixels: See there.
    """

    scoring: Scoring = None
    min_mask_pixels: MinMaskPixels = None


class ModelCommand(TyperCommand):
    """A command whose help lists the models that can be chosen; they are looked up when the help is shown."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Fill in {segmentors}, {descriptors} and {matchers} in the help of options, and show it.

        Args:
            ctx: As of click; so is the other.
            formatter: See there.
        """
        for parameter in self.params:
            text = getattr(parameter, "help", None) or ""
            for kind in ("segmentors", "descriptors", "matchers"):
                if f"{{{kind}}}" in text:
                    text = text.replace(f"{{{kind}}}", ", ".join(model_names(kind)))
                    parameter.help = text  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


def model_names(kind: ModelKind) -> tuple[str, ...]:
    """List the models that can be chosen by name, those of other installed packages included.

    Args:
        kind: Which ones.

    Returns:
        Their names.
    """
    from ism_ros.descriptors.base import DESCRIPTORS
    from ism_ros.matching.base import MATCHERS
    from ism_ros.segmentors.base import SEGMENTORS

    names = {"segmentors": SEGMENTORS.names, "descriptors": DESCRIPTORS.names, "matchers": MATCHERS.names}
    return names[kind]


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option for each field of the dataclasses among its parameters.

    Args:
        command: Takes option groups, such as ModelOptions, and parameters of its own.

    Returns:
        The command as typer takes it.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, type] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        kind = parameter.annotation
        if not is_dataclass(kind):
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        assert isinstance(kind, type)
        groups[parameter.name] = kind
        hints = get_type_hints(kind, include_extras=True)
        parameters += [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
            )
            for field in fields(kind)
        ]

    def expanded(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    expanded.__name__, expanded.__doc__ = command.__name__, command.__doc__
    expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return expanded


def given(**values: Any) -> dict[str, Any]:
    """Choose the options that a user gave.

    Args:
        values: Options by name.

    Returns:
        Those that are not None, as overrides of settings of the same names.
    """
    return {name: value for name, value in values.items() if value is not None}


def print_warning(console: Console, text: str) -> None:
    """Print one line that a reader of the output can look for.

    Args:
        console: Where.
        text: What follows 'warning: '.
    """
    console.print(f"warning: {escape(text)}", style="yellow", highlight=False, soft_wrap=True)


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """Tell in one line that --output cannot be written.

    Args:
        output: The folder that the block writes; where that raises OSError, ValueError is raised.
    """
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise ValueError(f"--output {output} cannot be written ({why}): choose another folder, or free space") from None


NO_OBJECTS = "nothing to look for: give --cad FILE (again for more) or --objects objects.yaml"
"""What a user is told who named no object."""
AUTO_UNITS = "auto"
"""Value of --units by which each CAD model has its own, as of `resolve_units`."""


@dataclass(frozen=True)
class ObjectOptions:
    """Options that say which objects to look for.

    Attributes:
        cad: CAD models; None = none, as of all others.
        templates: Template folders, each of the CAD model at the same position.
        units: Of the CAD models, or AUTO_UNITS.
        color: The one color of the CAD models.
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
    color: Color = None
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

    @property
    def flags(self) -> dict[str, Any]:
        """Settings that the user gave, by name."""
        return given(objects_file=None if self.objects is None else str(self.objects))

    def check_known(self, ids: Sequence[str]) -> None:
        """Check that the objects to look for are known.

        Args:
            ids: Those that are.

        Raises:
            ValueError: One of --object is not.
        """
        if unknown := [name for name in self.object_id or () if name not in ids]:
            raise ValueError(f"--object {unknown[0]} is not known; known: {', '.join(ids)}")

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
            return given(
                cad_path=None if spec.cad is None else str(spec.cad),
                template_dir=None if spec.templates is None else str(spec.templates),
                cad_units=None if self.units == AUTO_UNITS else self.units,
                cad_color=None if spec.color is None else color_text(spec.color),
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
            color=None if self.color is None or file is None else parse_color(self.color),
        )


def _printable(name: str) -> str:
    """Decode the name of a file: under a locale that is not UTF-8 it holds bytes that no message can."""
    return os.fsencode(name).decode("utf-8", "replace")
