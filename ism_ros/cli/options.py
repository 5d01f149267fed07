"""Options that several subcommands have: the models, the objects, and how commands take groups of options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperCommand

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
    typer.Option(help="Least pixels of a mask, 0 = any, -1 = SAM-6D's shares of the picture; default 100."),
]
Color = Annotated[
    str | None,
    typer.Option(
        help="The one colour of the CAD models, instead of what their files say: '#5a78aa', '90,120,170' or a name."
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
    """List the models that can be chosen by name; this loads their libraries.

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
