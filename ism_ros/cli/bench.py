"""`ism bench`: what a frame costs on this machine, stage by stage."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ism_ros.cli import options
from ism_ros.cli.options import ObjectOptions

if TYPE_CHECKING:
    from ism_ros.bench.bench_run import BenchRun, StageBar, StartTimes
    from ism_ros.bench.frame_times import FrameBench
    from ism_ros.config.settings import Settings
    from ism_ros.data.frame import Frame
    from ism_ros.model import InstanceSegmentationModel
    from ism_ros.objects.spec import ObjectSpec

MAX_MEASURE_S = 120.0
"""Time after which no further frame is measured."""
STOPPED = "stopped by Ctrl-C"
"""Why fewer frames were measured than were asked for."""
INTERRUPTED = 130
"""Exit status of a program that Ctrl-C ended."""
SAMPLE = "the sample that comes with the package"
"""Source of the frame where the user gave none."""
CHOICES = {"profile", "segmentor", "segmentor_model", "descriptor", "descriptor_model"}
"""Options that --all chooses itself."""
FILE_WIDTH = 80
"""Width of bench.txt, characters."""


@options.with_option_groups
def bench(
    *,
    rgb: Annotated[
        Path | None, typer.Option(help="Color image, PNG or JPEG; left out: the scene that comes with the package.")
    ] = None,
    depth: Annotated[Path | None, typer.Option(help="Depth image, 16-bit PNG registered to rgb.")] = None,
    camera: Annotated[Path | None, typer.Option(help="camera.json, as of ism segment.")] = None,
    frames: Annotated[
        int, typer.Option(min=1, help=f"How often the frame is measured, within {MAX_MEASURE_S:.0f} s.")
    ] = 20,
    output: Annotated[
        Path | None, typer.Option(help="Folder for bench.json, bench.txt and the picture bench.png.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Name of this run; left out: its models.")] = None,
    compare: Annotated[
        list[Path] | None, typer.Option(help="bench.json of an earlier run, shown beside; may be given again.")
    ] = None,
    all_models: Annotated[
        bool, typer.Option("--all", help="Every profile whose checkpoints are here, one after the other, in a table.")
    ] = False,
    objects: ObjectOptions,
    segmentation: options.SegmentationOptions,
) -> None:
    """Measure what a frame costs on this machine: every stage, memory, the start.

    [bold]Example:[/bold] ism bench --output out/bench
    [bold]Example:[/bold] ism bench --all --device cuda --output out/gpu

    Frame and objects are a sample that comes with the package, or yours, as for 'ism segment'. It is the model alone: a
    node or server adds its messages. Ctrl-C ends it and shows what was measured until then.
    """
    console = Console(stderr=True)
    began = time.perf_counter()
    try:
        from ism_ros.bench.bench_run import read_stage_bar
        from ism_ros.bench.report import report

        import_s = time.perf_counter() - began
        compared = [read_stage_bar(path) for path in compare or ()]
        if output is not None:
            with options.writing(output):  # before minutes of work, rather than after
                output.mkdir(parents=True, exist_ok=True)
        files = rgb, depth, camera
        if all_models:
            _bench_all(console, files, objects, segmentation, frames, output)
            return
        run = _prepared(console, files, objects, segmentation).run(frames, label, import_s)
    except KeyboardInterrupt:
        console.print(f"{STOPPED}: no frame was measured")
        raise typer.Exit(INTERRUPTED) from None
    Console().print(report(run, compared))
    if output is not None:
        _write(output, run, compared)
        console.print(f"wrote {output / 'bench.png'}, bench.json, bench.txt", highlight=False, soft_wrap=True)
    if run.ended_early == STOPPED:
        raise typer.Exit(INTERRUPTED)


@dataclass(eq=False)
class Session:
    """One run of the command, up to what it measured.

    Attributes:
        console: Where progress is shown.
        settings: Of the models.
        objects: Which objects to look for.
        specs: All that are to be known.
        frame: The frame.
        source: Where it came from, in words.
    """

    console: Console
    settings: Settings
    objects: ObjectOptions
    specs: Sequence[ObjectSpec]
    frame: Frame
    source: str

    def run(self, frames: int, label: str | None, import_s: float) -> BenchRun:
        """Load the models, and measure.

        Args:
            frames: How many frames.
            label: Name of the run; None = its models.
            import_s: Seconds that imports took.

        Returns:
            What was measured; fewer frames where time ran out or Ctrl-C was pressed.

        Raises:
            ValueError: The models cannot be loaded, or an object cannot be used.
            KeyboardInterrupt: Ctrl-C was pressed before a frame was measured.
        """
        from ism_ros.bench.bench_run import BenchRun, FrameFacts, MachineFacts, ModelFacts
        from ism_ros.bench.frame_times import FrameBench
        from ism_ros.bench.onboarding_times import time_onboarding

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as bar:
            shown = Shown(bar, bar.add_task("loading", total=None))
            model, start = self._start(shown, import_s)
            self.objects.check_known(model.library.ids)
            shown.say(f"onboarding {self.specs[0].id} into an empty cache")
            onboarding = time_onboarding(model, self.specs[0], shown.count)
            shown.say("warming up")
            bench = FrameBench(model, self.frame, self.objects.object_id)
            bench.warm_up()
            shown.say("measuring")
            ended_early = _measure(bench, frames, shown)
        models = ModelFacts.of(self.settings)
        known = len(self.objects.object_id or model.library.ids)
        return BenchRun(
            label=str(models) if label is None else label,
            models=models,
            machine=MachineFacts.of(model),
            frame=FrameFacts.of(self.source, self.frame, known),
            start=start,
            onboarding=onboarding,
            times=bench.result(),
            load=os.getloadavg()[0],
            ended_early=ended_early,
        )

    def _start(self, shown: Shown, import_s: float) -> tuple[InstanceSegmentationModel, StartTimes]:
        from ism_ros.bench.bench_run import StartTimes
        from ism_ros.loading import load_model

        began = time.perf_counter()
        model = load_model(self.settings, shown.say, specs=())
        loaded = time.perf_counter()
        rendered = 0
        for spec in self.specs:
            shown.say(f"onboarding {spec.id}")
            model.add(spec, shown.count)
            rendered += shown.has_counted
        return model, StartTimes(import_s, loaded - began, time.perf_counter() - loaded, rendered)


@dataclass(eq=False)
class Shown:
    """What is being done, and how far it is, in a progress bar.

    Attributes:
        bar: The bar.
        task: Its only task.
        has_counted: Whether something was counted since the last words.
    """

    bar: Progress
    task: TaskID
    has_counted: bool = False

    def say(self, words: str) -> None:
        """Show what is being done."""
        self.has_counted = False
        self.bar.update(self.task, description=words, completed=0, total=None)

    def count(self, done: int, total: int) -> None:
        """Show how far it is."""
        self.has_counted = True
        self.bar.update(self.task, completed=done, total=total)


def _measure(bench: FrameBench, frames: int, shown: Shown) -> str:
    """Measure frames until there are enough; return why there are fewer, or nothing."""
    began = time.perf_counter()
    try:
        while bench.measured < frames:
            shown.count(bench.measured, frames)
            bench.measure()
            if bench.measured < frames and time.perf_counter() - began > MAX_MEASURE_S:
                return f"{MAX_MEASURE_S:.0f} s are over"
    except KeyboardInterrupt:
        if not bench.measured:
            raise
        return STOPPED
    return ""


def _bench_all(
    console: Console,
    files: tuple[Path | None, Path | None, Path | None],
    objects: ObjectOptions,
    segmentation: options.SegmentationOptions,
    frames: int,
    output: Path | None,
) -> None:
    """Measure every profile; those without checkpoints are named in the table with what is missing."""
    from ism_ros.bench.all_models import CONFIGURATIONS, runs_markdown, runs_table
    from ism_ros.bench.report import report
    from ism_ros.errors import CheckpointError
    from ism_ros.runtime.atomic_files import write_atomically

    if chosen := CHOICES & segmentation.flags.keys():
        raise ValueError(f"--all measures every profile: leave out --{min(chosen).replace('_', '-')}")
    runs: dict[str, BenchRun | str] = {}
    for name, settings in CONFIGURATIONS.items():
        try:
            run = _prepared(console, files, objects, segmentation, settings).run(frames, name, 0.0)
        except CheckpointError as error:
            runs[name] = str(error)
            console.print(f"{name}: {error}", highlight=False, soft_wrap=True)
            continue
        runs[name] = run
        Console().print(report(run))
        Console().print()
        if output is not None:
            _write(output / name, run, ())
        if run.ended_early == STOPPED:
            break
    Console().print(runs_table(runs))
    if output is not None:
        with options.writing(output):
            write_atomically(output / "bench.md", runs_markdown(runs))
        console.print(f"wrote {output / 'bench.md'}", highlight=False, soft_wrap=True)


def _prepared(
    console: Console,
    files: tuple[Path | None, Path | None, Path | None],
    objects: ObjectOptions,
    segmentation: options.SegmentationOptions,
    more: Mapping[str, Any] | None = None,
) -> Session:
    """Read all that the user gave, and `more` settings; the sample where there is no frame."""
    from ism_ros.io.frame_files import read_frame
    from ism_ros.objects.spec import read_objects_file
    from ism_ros.selftest.sample_files import SCENE, read_sample_frame

    rgb, depth, camera = files
    specs = objects.specs()
    settings = segmentation.load_settings(**objects.flags, **(more or {}))
    settings.resolved_device()  # or what is wrong with it would be told after the files were read
    if rgb is None and camera is None and depth is None:
        frame, source = read_sample_frame(), SAMPLE
        if not specs and not settings.objects_file:
            settings = settings.model_copy(update={"objects_file": str(SCENE / "objects.yaml")})
    elif rgb is None or camera is None:
        raise ValueError("a frame of yours needs --rgb and --camera, and --depth where there is depth")
    elif not specs and not settings.objects_file:
        raise ValueError(options.NO_OBJECTS)
    else:
        frame, source = read_frame(rgb, depth, camera), rgb.name
    listed = read_objects_file(Path(settings.objects_file)) if settings.objects_file else ()
    return Session(console, settings, objects, [*listed, *specs], frame, source)


def _write(output: Path, run: BenchRun, compared: Sequence[StageBar]) -> None:
    from ism_ros.bench.bench_run import StageBar
    from ism_ros.bench.report import report
    from ism_ros.bench.stage_picture import draw_stages
    from ism_ros.io.result_files import png_bytes
    from ism_ros.runtime.atomic_files import write_atomically

    text = io.StringIO()
    Console(file=text, width=FILE_WIDTH).print(report(run, compared))
    picture = draw_stages([StageBar.of(run), *compared])
    with options.writing(output):
        write_atomically(output / "bench.json", json.dumps(run.as_json(), indent=2) + "\n")
        write_atomically(output / "bench.txt", text.getvalue())
        write_atomically(output / "bench.png", png_bytes(picture))
