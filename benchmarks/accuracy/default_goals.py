"""What is asked of the default pair, and the table of what was reached."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Goal:
    """A row of the table.

    Attributes:
        key: Name of the number.
        text: What it is.
        value: What it should reach.
        least: Whether more is better.
    """

    key: str
    text: str
    value: float
    least: bool = True


GOALS = (
    Goal("AP50", "mask AP50, 200 scenes", 0.90),
    Goal("AP", "mask AP50:95", 0.65),
    Goal("recall50", "proposal recall at IoU 0.5", 0.95),
    Goal("most_proposals", "most proposals a frame", 60, least=False),
    Goal("viewpoint35", "view of the pose within 35 degrees", 0.80),
    Goal("template35", "best template alone within 35 degrees", 0.80),
    Goal("confusable_texture", "pairs that differ in texture distinguished", 0.9),
    Goal("confusable_shape", "pairs that differ in shape distinguished", 0.9),
    Goal("can_iou", "lm_can: IoU of the first", 0.8),
    Goal("engine_ms", "engine, median ms a frame", 100, least=False),
    Goal("engine_ms_90", "engine, 90 % of frames, ms", 150, least=False),
    Goal("onboarding_s", "onboarding, s an object", 8, least=False),
    Goal("memory_mb", "memory, MB", 1000, least=False),
)
"""The rows of the table."""


def print_goals(console: Console, rows: dict[str, dict[str, float]]) -> None:
    """Print the goals with what each pair of models has reached.

    Args:
        console: Where to.
        rows: Numbers of each pair by the keys of GOALS.
    """
    table = Table(title="The default pair")
    for column in ("", "goal", *rows):
        table.add_column(column, justify="left" if not column else "right")
    for goal in GOALS:
        cells = []
        for numbers in rows.values():
            value = numbers.get(goal.key)
            reached = value is not None and (value >= goal.value if goal.least else value <= goal.value)
            color = "green" if reached else "red"
            cells.append("-" if value is None else f"[{color}]{value:.3g}[/{color}]")
        table.add_row(goal.text, f"{'>=' if goal.least else '<='} {goal.value:g}", *cells)
    console.print(table)
