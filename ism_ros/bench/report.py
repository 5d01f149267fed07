"""A run in words: tables for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ism_ros.bench.bench_run import BenchRun, StageBar
from ism_ros.bench.operation_counts import OperationCount

BAR_WIDTH = 30
"""Characters of the bar of a stage that takes all of the time."""


def report(run: BenchRun, compared: Sequence[StageBar] = ()) -> Group:
    """Write a run as tables.

    Args:
        run: The run.
        compared: Earlier runs, for a table of all of them.

    Returns:
        What a console of rich prints.
    """
    parts: list[Table | Text] = [Text(f"{run.label}\n", style="bold"), _stages(run), Text(), _facts(run)]
    if compared:
        parts += [Text(), _comparison([StageBar.of(run), *compared])]
    parts += [Text(f"\n{note}", style="yellow") for note in notes(run)]
    return Group(*parts)


def notes(run: BenchRun) -> list[str]:
    """List what is to be known before the numbers are used.

    Args:
        run: The run.

    Returns:
        Sentences.
    """
    said, use = [], run.times.use
    if run.ended_early:
        said.append(f"{run.ended_early}: {_count(run.times.frames, 'frame')} measured")
    if run.is_contended:
        said.append(
            f"warning: others used {use.others:.1f} of {_count(use.cores, 'core')} meanwhile, so times are longer than "
            "they would be: run it again when they rest"
        )
    return said


def milliseconds_text(ms: float) -> str:
    """Write milliseconds with as many digits as they deserve.

    Args:
        ms: The number.

    Returns:
        A digit behind the point below 100, else whole milliseconds.
    """
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}"


def rate_text(frames_per_s: float) -> str:
    """Write frames a second with three digits.

    Args:
        frames_per_s: The number.

    Returns:
        The text.
    """
    return f"{frames_per_s:.{2 if frames_per_s < 10 else 1 if frames_per_s < 100 else 0}f}"


def _stages(run: BenchRun) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_footer=True, show_edge=False)
    frame = run.times.frame
    table.add_column("stage", "whole frame", no_wrap=True)
    table.add_column("median, ms", milliseconds_text(frame.median_ms), justify="right", no_wrap=True)
    table.add_column("90 %, ms", milliseconds_text(frame.p90_ms), justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name, spread in run.times.stages.items():
        share = spread.mean_ms / frame.mean_ms
        numbers = milliseconds_text(spread.median_ms), milliseconds_text(spread.p90_ms)
        table.add_row(name, *numbers, f"{100 * share:.0f} %", "█" * round(BAR_WIDTH * share))
    return table


def _facts(run: BenchRun) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, words in _words(run).items():
        table.add_row(name, Text(words))
    return table


def _words(run: BenchRun) -> dict[str, str]:
    times, machine, frame, start = run.times, run.machine, run.frame, run.start
    parts = {"segmentor": times.operations["proposals"], "descriptor": times.operations["descriptors"]}
    depth = "with depth" if frame.has_depth else "without depth"
    gpu = "" if times.memory.device_peak is None else f"; tensors on the GPU {times.memory.device_peak:.0f} MB at most"
    if times.memory.device_allocations is not None:
        gpu += f", {_count(times.memory.device_allocations, 'allocation')} after the third frame"
    rendered = f", {start.rendered} of them rendered" if start.rendered else ", from the cache"
    bfloat16 = "with bfloat16" if machine.bfloat16 else "without bfloat16"
    others = "" if times.use.others is None else f", others {times.use.others:.1f}"
    words = {
        "frame": f"{frame.source}, {frame.width} x {frame.height} {depth}, {_count(frame.objects, 'object')} known",
        "found": f"{_count(times.proposals, 'proposal')}, {_count(times.detections, 'detection')}",
        "speed": f"{rate_text(times.frames_per_s)} frames a second (mean of {times.frames}); "
        f"{milliseconds_text(times.processor_ms)} ms of processor time each",
        "memory": f"{times.memory.resident:.0f} MB, {times.memory.peak:.0f} MB at most{gpu}",
        "start": f"imports {_seconds(start.import_s)}, networks {_seconds(start.models_s)}, "
        f"objects {_seconds(start.objects_s)}{rendered}",
    }
    if run.onboarding is not None:
        one = run.onboarding
        times_text = f"{_seconds(one.first_s)} the first time, {_seconds(one.cached_s)} from the cache"
        words["onboarding"] = f"{one.object_id}: {times_text}"
    if machine.gpu is not None:
        words["GPU"] = f"{machine.gpu}, CUDA {machine.cuda}"
    return {
        **words,
        "processor": f"{machine.processor}, {machine.instructions} {bfloat16}",
        "cores": f"{times.use.cores}, {_count(machine.threads, 'thread')}; "
        f"in use by this run {times.use.own:.1f}{others}; load {run.load:.1f}",
        "numbers": ", ".join(f"{part} {' and '.join(one.formats) or 'not by PyTorch'}" for part, one in parts.items()),
        "operations": _operations_text(times.operations.values()),
        "PyTorch": machine.torch,
    }


def _operations_text(counts: Collection[OperationCount]) -> str:
    """Write how many operations all stages have, and how many of them a GPU is waited for."""
    operations, waits = (sum(getattr(one, name) for one in counts) for name in ("operations", "waits"))
    return f"{operations} of PyTorch a frame, {waits} of which a GPU is waited for"


def _comparison(bars: Sequence[StageBar]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    has_places = len({bar.place for bar in bars}) > 1
    for name in ("run", "on") if has_places else ("run",):
        table.add_column(name, overflow="fold")
    for name in ("median, ms", "frames/s", "times"):
        table.add_column(name, justify="right", no_wrap=True)
    for bar in bars:
        named = [Text(bar.label), Text(bar.place)] if has_places else [Text(bar.label)]
        ratio = bar.frame_ms / bars[0].frame_ms
        table.add_row(*named, milliseconds_text(bar.frame_ms), rate_text(bar.frames_per_s), f"{ratio:.2f}")
    return table


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1e3 * seconds:.0f} ms"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
