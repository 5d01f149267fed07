"""`ism eval`: a whole BOP dataset, from its models to average precision and a report."""

from __future__ import annotations

from dataclasses import dataclass
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
"""Number of detections an image that BOP judges at most."""
IRRELEVANT_SETTINGS = (
    *("cache_dir", "objects_file", "queue_size", "slop"),
    *("rgb_transport", "depth_transport", "reliability", "max_rate", "max_cpu", "autostart"),
)
"""Settings that do not change the results."""


@options.with_option_groups
def evaluate(
    *,
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
    segmentation: options.SegmentationOptions,
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

    console = Console(stderr=True)
    published = segmentation.load_settings().score_threshold
    fixed = {"score_threshold": score_threshold, "max_detections": MAX_DETECTIONS, "objects_file": ""}
    settings = segmentation.load_settings(**fixed)
    opened = open_dataset(dataset, split, targets, sensor, models, limit)
    run = Evaluation(console, opened, settings, output)
    lacking = missing_truth(opened)
    truth = None if lacking else run.read_truth()
    listed = opened.targets.name if opened.targets else "no list of targets: all images"
    images, objects = len(opened.images), len(opened.models)
    run.print_line(f"{opened.name} {opened.split}: {images} images ({listed}), {objects} objects")
    if score_threshold > 0:
        run.print_line(f"scores below {score_threshold:g} are cut: average precision will be lower than it could be")

    results = run.find_all(restart)
    predictions = run.write_predictions(results)
    _print_warnings(console, results)
    if truth is None:
        run.print_line(
            f"{lacking}, so nothing can be judged here: give {predictions} to the BOP benchmark's server, or give this "
            "command again when the truth is there"
        )
        return
    summary = run.judge(truth, results, published)
    run.write_report(truth, results, summary, worst)
    _print_summary(Console(), summary)
    run.print_line(f"wrote {output / 'report.html'}, scores.json, {predictions.name}")


@dataclass(frozen=True)
class Evaluation:
    """One run over a dataset.

    Attributes:
        console: Where progress is shown.
        dataset: The dataset.
        settings: Of the models.
        output: Folder of the results.
    """

    console: Console
    dataset: BopDataset
    settings: Settings
    output: Path

    def print_line(self, text: str) -> None:
        """Print a line about the run.

        Args:
            text: The line.
        """
        self.console.print(text, highlight=False, soft_wrap=True)

    def read_truth(self) -> GroundTruth:
        """Read the ground truth of the images.

        Returns:
            The truth.

        Raises:
            BopFileError: A file cannot be used.
        """
        from ism_ros.bop.ground_truth import read_ground_truth

        with _progress(self.console) as bar:
            task = bar.add_task("reading the truth", total=len(self.dataset.images))
            return read_ground_truth(self.dataset, lambda done, total: bar.update(task, completed=done))

    def find_all(self, restart: bool) -> list[ImageResult]:
        """Find the objects in every image; models are loaded only where an image is left to do.

        Args:
            restart: Throw away what an earlier run found.

        Returns:
            One result an image, each kept on disk as soon as it is there.
        """
        from ism_ros.bop.run_folder import open_run, program_digest, run_inputs
        from ism_ros.model import __file__ as main_path

        key = run_inputs(self.dataset, _relevant(self.settings), program_digest(Path(main_path).parent))
        run = open_run(self.output, key, restart)
        done = {image: result for image in self.dataset.images if (result := run.read(image)) is not None}
        if done:
            self.print_line(f"{len(done)} images were done before; going on with the others")
        left = [image for image in self.dataset.images if image not in done]
        if left:
            model = self._load_model()
            with _progress(self.console) as bar:
                task = bar.add_task("finding", total=len(self.dataset.images), completed=len(done))
                for scene_id in dict.fromkeys(image.scene_id for image in left):
                    scene = self.dataset.scene(scene_id)
                    for image in left:
                        if image.scene_id == scene_id:
                            done[image] = _find(model, scene.frame(image.image_id), image, run)
                            bar.advance(task)
        return [done[image] for image in self.dataset.images]

    def write_predictions(self, results: list[ImageResult]) -> Path:
        """Write what was found as the BOP benchmark takes it.

        Args:
            results: Of all images.

        Returns:
            The file.
        """
        from ism_ros.bop.predictions import file_name, write_predictions

        method = f"ism-{self.settings.segmentor}-{self.settings.descriptor}"
        scoring = self.settings.resolved_scoring()
        if scoring != self.settings.model_copy(update={"scoring": "auto"}).resolved_scoring():
            method += f"-{scoring}"
        predictions = self.output / file_name(method, self.dataset)
        write_predictions(predictions, (entry for result in results for entry in result.predictions))
        return predictions

    def judge(self, truth: GroundTruth, results: list[ImageResult], published: float) -> Summary:
        """Compare what was found with the truth, and write scores.json.

        Args:
            truth: Of all images.
            results: Of all images.
            published: Score from which detections are published, for the counts of found and false ones.

        Returns:
            The scores.
        """
        from ism_ros.bop.files import write_json
        from ism_ros.bop.report.summary import summarize

        with self.console.status("judging"):
            summary = summarize(self.dataset, truth, results, published)
        about = {
            "dataset": self.dataset.name,
            "split": self.dataset.split,
            "targets": self.dataset.targets.name if self.dataset.targets else None,
            "settings": _relevant(self.settings),
        }
        write_json(self.output / "scores.json", {**about, **summary.as_json()}, indent=1)
        return summary

    def write_report(self, truth: GroundTruth, results: list[ImageResult], summary: Summary, worst: int) -> None:
        """Write report.html.

        Args:
            truth: Of all images.
            results: Of all images.
            summary: The scores.
            worst: Cases of each kind that it shows.
        """
        from ism_ros import __version__
        from ism_ros.bop.report.html_report import html_report
        from ism_ros.bop.report.pictures import case_pictures
        from ism_ros.bop.report.worst_cases import worst_cases

        predictions = [entry for result in results for entry in result.predictions]
        cases = worst_cases(summary.tasks["segm"].judgements, truth, predictions, worst)
        with _progress(self.console) as bar:
            task = bar.add_task("drawing the worst cases", total=sum(map(len, cases.values())))
            drawn: dict[Any, list[Any]] = {}
            for kind, rows in cases.items():
                drawn[kind] = []
                for case in rows:
                    rgb = self.dataset.scene(case.image.scene_id).frame(case.image.image_id).rgb
                    drawn[kind].append((case, case_pictures(rgb, case, truth, predictions, summary.threshold)))
                    bar.advance(task)
        settings = self.settings
        about = (
            f"{settings.segmentor} proposals, {settings.descriptor} descriptors, {settings.resolved_scoring()} scores, "
            f"on {settings.resolved_device()}. "
            f"{len(self.dataset.models)} objects searched for in each of {summary.images} images; "
            f"{summary.detections} detections, {summary.images_without} images without one. ism_ros {__version__}."
        )
        title = f"{self.dataset.name} {self.dataset.split}: what was found"
        page = html_report(title, about, summary, drawn, _relevant(settings))
        (self.output / "report.html").write_text(page, encoding="utf-8")

    def _load_model(self) -> InstanceSegmentationModel:
        from ism_ros.loading import load_model

        specs = self.dataset.object_specs()
        with _progress(self.console) as bar:
            task = bar.add_task("loading models", total=len(specs))
            model = load_model(self.settings, lambda text: bar.update(task, description=text))
            for spec in specs:
                bar.update(task, description=f"onboarding {spec.id}")

                def show(done: int, total: int, name: str = spec.id) -> None:
                    bar.update(task, description=f"onboarding {name}, view {done} of {total}")

                model.add(spec, show)
                bar.advance(task)
            bar.update(task, description="onboarding")
        for known in model.library.objects:
            for warning in known.warnings:
                options.print_warning(self.console, warning.text)
        return model


def _find(model: InstanceSegmentationModel, frame: Any, image: Any, run: RunFolder) -> ImageResult:
    from ism_ros.bop.predictions import predictions_of
    from ism_ros.bop.run_folder import ImageResult

    detections = model.segment(frame, with_poses=False)
    stage_s = dict(detections.stage_s)
    result = ImageResult(image, predictions_of(detections, image, sum(stage_s.values())), stage_s, detections.warnings)
    run.write(result)
    return result


def _relevant(settings: Settings) -> dict[str, Any]:
    used = {name: value for name, value in settings.model_dump().items() if name not in IRRELEVANT_SETTINGS}
    return {**used, "device": settings.resolved_device()}


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
