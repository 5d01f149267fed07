"""`ism eval`: a whole BOP dataset, from its models to average precision and a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from ism_ros.cli import options

if TYPE_CHECKING:
    from ism_ros.bop.dataset import BopDataset
    from ism_ros.bop.ground_truth import GroundTruth
    from ism_ros.bop.report.summary import Summary
    from ism_ros.bop.run_folder import ImageResult, RunFolder
    from ism_ros.config.settings import Settings
    from ism_ros.model import InstanceSegmentationModel

MAX_DETECTIONS = 100
"""BOP judges at most so many detections an image."""
WITHOUT_EFFECT = (
    *("cache_dir", "objects_file", "queue_size", "slop"),
    *("rgb_transport", "depth_transport", "reliability", "max_rate", "autostart"),
)
"""Settings that change nothing in the results."""


def evaluate(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="Folder of a BOP dataset: lmo, ycbv, ...", show_default=False)
    ],
    output: Annotated[Path, typer.Option(help="Folder for predictions, scores and report.")] = Path("out/eval"),
    split: Annotated[str, typer.Option(help="Folder of the images.")] = "test",
    targets: Annotated[
        Path | None,
        typer.Option(help="JSON list of the images to be judged; else the split's targets of bop19 or bop24."),
    ] = None,
    sensor: Annotated[str, typer.Option(help="Of a dataset with several sensors, the one to use.")] = "",
    models: Annotated[
        str, typer.Option(help="Folder of the CAD models in the dataset; else models or models_cad.")
    ] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many images.")] = None,
    config: options.Config = None,
    profile: options.Profile = None,
    segmentor: options.Segmentor = None,
    segmentor_model: options.SegmentorModel = None,
    descriptor: options.Descriptor = None,
    descriptor_model: options.DescriptorModel = None,
    scoring: Annotated[str | None, typer.Option(help="Compared by: auto, sam6d, shape, or noctis (slower).")] = None,
    min_mask_pixels: options.MinMaskPixels = None,
    device: options.Device = None,
    score_threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Least score of a detection. Above 0 it costs average precision.")
    ] = 0.0,
    worst: Annotated[int, typer.Option(min=0, help="Cases of each kind in the report.")] = 6,
    restart: Annotated[bool, typer.Option("--restart", help="Throw away what an earlier run found.")] = False,
) -> None:
    """Find all objects of a BOP dataset in its test images, and judge what was found.

    [bold]Example:[/bold] ism eval datasets/lmo --output out/lmo

    Every image is searched for all objects of the dataset, as in BOP's tasks for unseen objects.

    No detection is cut by its score: score_threshold is 0 and max_detections 100 here, whatever the settings say.

    A run that was stopped goes on where it was when the same command is given again.

    --output gets METHOD_DATASET-SPLIT.json, as the BOP benchmark takes it, scores.json and report.html.
    """
    from ism_ros.bop.dataset import open_dataset
    from ism_ros.bop.ground_truth import missing_truth
    from ism_ros.bop.predictions import file_name, write_predictions
    from ism_ros.config.sources import load_settings

    console = Console(stderr=True)
    given = options.given(
        profile=profile,
        segmentor=segmentor,
        segmentor_model=segmentor_model,
        descriptor=descriptor,
        descriptor_model=descriptor_model,
        scoring=scoring,
        min_mask_pixels=min_mask_pixels,
        device=device,
    )
    published = load_settings(config, flags=given).score_threshold
    fixed = {"score_threshold": score_threshold, "max_detections": MAX_DETECTIONS, "objects_file": ""}
    settings = load_settings(config, flags={**given, **fixed})
    opened = open_dataset(dataset, split, targets, sensor, models, limit)
    lacking = missing_truth(opened)
    truth = None if lacking else _read_truth(console, opened)
    listed = opened.targets.name if opened.targets else "no list of targets: all images"
    console.print(
        f"{opened.name} {opened.split}: {len(opened.images)} images ({listed}), {len(opened.models)} objects",
        highlight=False,
    )
    if score_threshold > 0:
        console.print(f"scores below {score_threshold:g} are cut: average precision will be lower than it could be")

    results = _find_all(console, opened, settings, output, restart)
    method = f"ism-{settings.segmentor}-{settings.descriptor}"
    scoring = settings.resolved_scoring()
    if scoring != settings.model_copy(update={"scoring": "auto"}).resolved_scoring():
        method += f"-{scoring}"
    predictions = output / file_name(method, opened)
    write_predictions(predictions, (entry for result in results for entry in result.predictions))
    _print_warnings(console, results)
    if truth is None:
        console.print(
            f"{lacking}, so nothing can be judged here: give {predictions} to the BOP benchmark's server, or give this "
            "command again when the truth is there",
            highlight=False,
            soft_wrap=True,
        )
        return
    summary = _judge(console, opened, truth, results, published, output, settings)
    _write_report(console, opened, truth, results, summary, settings, output, worst)
    _print_summary(Console(), summary)
    console.print(f"wrote {output / 'report.html'}, scores.json, {predictions.name}", highlight=False, soft_wrap=True)


def _read_truth(console: Console, dataset: BopDataset) -> GroundTruth:
    from ism_ros.bop.ground_truth import read_ground_truth

    with _progress(console) as bar:
        task = bar.add_task("reading the truth", total=len(dataset.images))
        return read_ground_truth(dataset, lambda done, total: bar.update(task, completed=done))


def _find_all(
    console: Console, dataset: BopDataset, settings: Settings, output: Path, restart: bool
) -> list[ImageResult]:
    """What is found in every image, kept as it comes; models are loaded only where something is left to do."""
    from ism_ros.bop.run_folder import making, open_run, program_digest
    from ism_ros.model import __file__ as main_path

    run = open_run(output, making(dataset, _relevant(settings), program_digest(Path(main_path).parent)), restart)
    done = {image: result for image in dataset.images if (result := run.read(image)) is not None}
    if done:
        console.print(f"{len(done)} images were done before; going on with the others", highlight=False)
    left = [image for image in dataset.images if image not in done]
    if left:
        model = _onboarded(console, dataset, settings)
        with _progress(console) as bar:
            task = bar.add_task("finding", total=len(dataset.images), completed=len(done))
            for scene_id in dict.fromkeys(image.scene_id for image in left):
                scene = dataset.scene(scene_id)
                for image in left:
                    if image.scene_id == scene_id:
                        frame = scene.frame(image.image_id)
                        done[image] = _find(model, frame, image, run)
                        bar.advance(task)
    return [done[image] for image in dataset.images]


def _find(model: InstanceSegmentationModel, frame: Any, image: Any, run: RunFolder) -> ImageResult:
    from ism_ros.bop.predictions import predictions_of
    from ism_ros.bop.run_folder import ImageResult

    detections = model.segment(frame, with_poses=False)
    stage_s = dict(detections.stage_s)
    result = ImageResult(image, predictions_of(detections, image, sum(stage_s.values())), stage_s, detections.warnings)
    run.write(result)
    return result


def _onboarded(console: Console, dataset: BopDataset, settings: Settings) -> InstanceSegmentationModel:
    from ism_ros.loading import load_model

    specs = dataset.object_specs()
    with _progress(console) as bar:
        task = bar.add_task("loading models", total=len(specs))
        model = load_model(settings, lambda text: bar.update(task, description=text))
        for spec in specs:
            bar.update(task, description=f"onboarding {spec.id}")

            def tell(done: int, total: int, name: str = spec.id) -> None:
                bar.update(task, description=f"onboarding {name}, view {done} of {total}")

            model.add(spec, tell)
            bar.advance(task)
        bar.update(task, description="onboarding")
    for known in model.library.objects:
        for warning in known.warnings:
            options.print_warning(console, warning.text)
    return model


def _judge(
    console: Console,
    dataset: BopDataset,
    truth: GroundTruth,
    results: list[ImageResult],
    published: float,
    output: Path,
    settings: Settings,
) -> Summary:
    from ism_ros.bop.files import write_json
    from ism_ros.bop.report.summary import summarize

    with console.status("judging"):
        summary = summarize(dataset, truth, results, published)
    about = {
        "dataset": dataset.name,
        "split": dataset.split,
        "targets": dataset.targets.name if dataset.targets else None,
        "settings": _relevant(settings),
    }
    write_json(output / "scores.json", {**about, **summary.as_json()}, indent=1)
    return summary


def _relevant(settings: Settings) -> dict[str, Any]:
    used = {name: value for name, value in settings.model_dump().items() if name not in WITHOUT_EFFECT}
    return {**used, "device": settings.resolved_device()}


def _write_report(
    console: Console,
    dataset: BopDataset,
    truth: GroundTruth,
    results: list[ImageResult],
    summary: Summary,
    settings: Settings,
    output: Path,
    worst: int,
) -> None:
    from ism_ros import __version__
    from ism_ros.bop.report.html_report import html_report
    from ism_ros.bop.report.pictures import case_pictures
    from ism_ros.bop.report.worst_cases import worst_cases

    predictions = [entry for result in results for entry in result.predictions]
    cases = worst_cases(summary.tasks["segm"].judgements, truth, predictions, worst)
    with _progress(console) as bar:
        task = bar.add_task("drawing the worst cases", total=sum(map(len, cases.values())))
        drawn: dict[Any, list[Any]] = {}
        for kind, rows in cases.items():
            drawn[kind] = []
            for case in rows:
                rgb = dataset.scene(case.image.scene_id).frame(case.image.image_id).rgb
                drawn[kind].append((case, case_pictures(rgb, case, truth, predictions, summary.threshold)))
                bar.advance(task)
    about = (
        f"{settings.segmentor} proposals, {settings.descriptor} descriptors, {settings.resolved_scoring()} scores, on "
        f"{settings.resolved_device()}. "
        f"{len(dataset.models)} objects searched for in each of {summary.images} images; {summary.detections} "
        f"detections, {summary.images_without} images without one. ism_ros {__version__}."
    )
    title = f"{dataset.name} {dataset.split}: what was found"
    page = html_report(title, about, summary, drawn, _relevant(settings))
    (output / "report.html").write_text(page, encoding="utf-8")


def _print_warnings(console: Console, results: list[ImageResult]) -> None:
    from ism_ros.bop.report.summary import count_warnings

    for warning in count_warnings(results):
        options.print_warning(console, f"{warning.text} ({warning.images} of {len(results)} images)")


def _print_summary(console: Console, summary: Summary) -> None:
    from ism_ros.bop.report.html_report import number

    table = Table(
        title=f"{summary.instances} instances in {summary.images} images", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    columns = ("object", "instances", "AP", "AP50", "AP75", "AR", "box AP", "found", "false")
    for column in columns:
        table.add_column(column, justify="left" if column == "object" else "right", no_wrap=True)
    for row in summary.objects:
        parts = (number(row.segm[name]) for name in ("AP", "AP50", "AP75", "AR100"))
        table.add_row(row.name, str(row.instances), *parts, number(row.bbox["AP"]), str(row.found), str(row.false))
    table.add_section()
    segm, bbox = summary.tasks["segm"].scores, summary.tasks["bbox"].scores
    found, false = sum(row.found for row in summary.objects), sum(row.false for row in summary.objects)
    parts = (number(segm[name]) for name in ("AP", "AP50", "AP75", "AR100"))
    table.add_row("all", str(summary.instances), *parts, number(bbox["AP"]), str(found), str(false))
    console.print(table)
    console.print(
        f"masks, and amodal boxes for box AP; found and false: IoU 0.5, score from {summary.threshold:.2f}",
        highlight=False,
    )
    stages = (f"{stage} {spent.median * 1000:.0f}" for stage, spent in summary.seconds.items())
    console.print(f"milliseconds an image, median: {', '.join(stages)}", highlight=False)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        # one image may take a minute
        speed_estimate_period=600,
    )
