"""The evaluation as one HTML page without other files and network, light or dark as the reader's system."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from string import Template
from typing import Any

from ism_ros.bop.report.summary import ObjectRow, Seconds, Summary
from ism_ros.bop.report.worst_cases import Case, Kind

Pictures = tuple[bytes, bytes]

_KINDS: dict[Kind, tuple[str, str]] = {
    "missed": ("Missed", "Never found at IoU 0.5, whatever the score; the largest first."),
    "false": ("False detections", "At IoU 0.5; the best scores first."),
    "loose": ("Lowest IoU", "Found, but the masks agree least."),
}

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ground: #ffffff; --panel: #f4f5f7; --ink: #1c2127; --soft: #5d6673;
  --line: #dcdfe4; --first: #2563c9; --second: #c2570c; --third: #0f7b6c; --fourth: #8b4fbf; --track: #e3e6eb; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171b; --panel: #1d2126; --ink: #e8eaed; --soft: #9aa3af;
  --line: #333941; --first: #6ea0f5; --second: #f0934e; --third: #4cc3b0; --fourth: #c39af0; --track: #2d333b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 44px 0 4px; }
p { margin: 4px 0 14px; color: var(--soft); max-width: 75ch; }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px; margin: 22px 0; }
.tile { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.tile b { display: block; font-size: 26px; line-height: 1.3; font-variant-numeric: tabular-nums; font-weight: 600; }
.tile span { color: var(--soft); font-size: 13px; }
.warnings { border-left: 4px solid var(--second); padding: 6px 14px 6px 32px; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 500; color: var(--soft); font-size: 13px; white-space: nowrap; }
td { text-align: right; white-space: nowrap; }
th, td { padding: 6px 10px; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr.sum td { font-weight: 600; border-bottom: 0; }
td.bar { width: 26%; min-width: 120px; }
.track { display: block; height: 8px; border-radius: 4px; background: var(--track); overflow: hidden; }
.track i { display: block; height: 100%; border-radius: 4px; background: var(--first); }
.shares { display: flex; height: 14px; border-radius: 4px; overflow: hidden; margin: 6px 0 14px;
  background: var(--track); }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 8px; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(400px, 1fr)); gap: 0 48px; }
.cases { display: grid; grid-template-columns: repeat(auto-fill, minmax(440px, 1fr)); gap: 18px; margin-top: 12px; }
figure { margin: 0; background: var(--panel); border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 2px; }
.pair div { position: relative; }
.pair img { display: block; width: 100%; height: auto; }
.pair em { position: absolute; left: 6px; bottom: 6px; font-style: normal; font-size: 11px; padding: 1px 6px;
  border-radius: 4px; background: rgba(0, 0, 0, .62); color: #fff; }
figcaption { padding: 9px 12px 11px; font-size: 13px; color: var(--soft); }
figcaption b { color: var(--ink); }
svg { width: 100%; height: auto; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
details { margin-top: 44px; color: var(--soft); }
summary { cursor: pointer; color: var(--ink); font-weight: 600; font-size: 18px; }
details td { white-space: normal; text-align: left; overflow-wrap: anywhere; }
@media (max-width: 500px) {
  .tiles { grid-template-columns: 1fr 1fr; } .two, .cases { grid-template-columns: 1fr; }
  main { padding: 20px 14px 48px; } }
</style>
</head>
<body><main>
<h1>$title</h1>
<p>$about</p>
$warnings<div class="tiles">$tiles</div>
<h2>Objects</h2>
<p>$objects_note</p>
<div class="scroll">$objects</div>
<div class="two">
<section><h2>Score threshold</h2><p>$operating_note</p>$operating</section>
<section><h2>Time an image</h2><p>$time_note</p>$time</section>
</div>
$cases
<details><summary>Settings</summary><table>$settings</table></details>
</main></body></html>
""")


def html_report(
    title: str,
    about: str,
    summary: Summary,
    cases: Mapping[Kind, Sequence[tuple[Case, Pictures]]],
    settings: Mapping[str, Any],
) -> str:
    """Make the page.

    Args:
        title: Its title.
        about: A sentence on what was done.
        summary: The numbers.
        cases: Cases by kind, each with a JPEG of the truth and one of what was found.
        settings: Settings by name.

    Returns:
        HTML.
    """
    return _PAGE.substitute(
        title=escape(title),
        about=escape(about),
        warnings=_warnings(summary),
        tiles=_tiles(summary),
        objects_note=(
            "AP is the mean over IoU 0.50 to 0.95; boxes are amodal, as in BOP. "
            f"Found and false: at IoU 0.5 and a score of at least {summary.threshold:.2f}. "
            f"{_count(summary.ignored, 'instance')} less than 10 % visible are ignored."
        ),
        objects=_objects(summary),
        operating_note="Precision and recall at IoU 0.5 of what would be published at each threshold.",
        operating=_operating(summary),
        time_note=f"Seconds, over {_count(summary.images, 'image')}, without reading files.",
        time=_time(summary.seconds),
        cases="".join(_cases(kind, rows) for kind, rows in cases.items()),
        settings="".join(
            f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>" for name, value in settings.items()
        ),
    )


def number(value: float, digits: int = 3) -> str:
    """Format a number.

    Args:
        value: The number.
        digits: Digits after the point.

    Returns:
        Its text; a dash for NaN.
    """
    return "-" if value != value else f"{value:.{digits}f}"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _warnings(summary: Summary) -> str:
    """List what makes the numbers doubtful."""
    rows = "".join(
        f"<li>{escape(warning.text)} ({_count(warning.images, 'image')})</li>" for warning in summary.warnings
    )
    return f'<ul class="warnings">{rows}</ul>\n' if rows else ""


def _tiles(summary: Summary) -> str:
    segm, bbox = summary.tasks["segm"].scores, summary.tasks["bbox"].scores
    rows = [
        (number(segm["AP"]), "AP of masks"),
        (number(segm["AP50"]), "AP50 of masks"),
        (number(segm["AP75"]), "AP75 of masks"),
        (number(segm["AR100"]), "AR of masks"),
        (number(bbox["AP"]), "AP of boxes"),
        (number(summary.tasks["bbox_modal"].scores["AP"]), "AP of visible boxes"),
        (f"{summary.seconds['together'].median:.2f} s", "an image, median"),
        (str(summary.instances), f"instances in {_count(summary.images, 'image')}"),
    ]
    return "".join(f'<div class="tile"><b>{value}</b><span>{name}</span></div>' for value, name in rows)


def _objects(summary: Summary) -> str:
    heads = ("object", "instances", "AP", "", "AP50", "AP75", "AR", "box AP", "found", "false")
    rows = "".join(_object(row) for row in summary.objects)
    segm, bbox = summary.tasks["segm"].scores, summary.tasks["bbox"].scores
    last = (
        '<tr class="sum"><td>all</td>'
        + "".join(
            f"<td>{cell}</td>"
            for cell in (
                summary.instances,
                number(segm["AP"]),
                "",
                *(number(segm[name]) for name in ("AP50", "AP75", "AR100")),
                number(bbox["AP"]),
                sum(row.found for row in summary.objects),
                sum(row.false for row in summary.objects),
            )
        )
        + "</tr>"
    )
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}{last}</tbody></table>"


def _object(row: ObjectRow) -> str:
    share = 0.0 if row.segm["AP"] != row.segm["AP"] else row.segm["AP"]
    cells = [
        row.name,
        str(row.instances),
        number(row.segm["AP"]),
        None,
        *(number(row.segm[name]) for name in ("AP50", "AP75", "AR100")),
        number(row.bbox["AP"]),
        str(row.found),
        str(row.false),
    ]
    bar = f'<td class="bar"><span class="track"><i style="width:{100 * share:.1f}%"></i></span></td>'
    return "<tr>" + "".join(bar if cell is None else f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _operating(summary: Summary) -> str:
    """Draw precision and recall over the threshold of the score, as SVG."""
    left, top, width, height = 34, 10, 440, 210

    def point(threshold: float, share: float) -> str:
        return f"{left + width * threshold:.1f},{top + height * (1 - share):.1f}"

    lines = []
    for name, color, end in (("precision", "--second", -6), ("recall", "--first", -6)):
        points = [(row.threshold, getattr(row, name)) for row in summary.operating]
        known = [(x, y) for x, y in points if y == y]
        if not known:
            continue
        path = " ".join(point(x, y) for x, y in known)
        lines.append(
            f'<polyline fill="none" stroke="var({color})" stroke-width="2" stroke-linejoin="round" points="{path}"/>'
        )
        x, y = known[len(known) // 8]
        at = point(x, y).split(",")
        lines.append(f'<text x="{at[0]}" y="{float(at[1]) + end:.1f}" style="fill:var({color})">{name}</text>')
    grid = "".join(
        f'<line x1="{left}" x2="{left + width}" y1="{top + height * (1 - tick / 4):.1f}" '
        f'y2="{top + height * (1 - tick / 4):.1f}" stroke="var(--line)"/>'
        f'<text x="{left - 6}" y="{top + height * (1 - tick / 4) + 4:.1f}" text-anchor="end">{tick / 4:g}</text>'
        f'<text x="{left + width * tick / 4:.1f}" y="{top + height + 17}" text-anchor="middle">{tick / 4:g}</text>'
        for tick in range(5)
    )
    x = left + width * summary.threshold
    mark = (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + height}" stroke="var(--soft)" stroke-dasharray="4 4"/>'
        f'<text x="{x - 5:.1f}" y="{top + 10}" text-anchor="end">published</text>'
    )
    size = f"0 0 {left + width + 12} {top + height + 24}"
    drawing = grid + mark + "".join(lines)
    return f'<svg viewBox="{size}" role="img" aria-label="precision and recall by threshold">{drawing}</svg>'


def _time(seconds: Mapping[str, Seconds]) -> str:
    colors = ("--first", "--second", "--third", "--fourth")
    stages = [stage for stage in seconds if stage != "together"]
    whole = sum(seconds[stage].mean for stage in stages) or 1.0
    shares = "".join(
        f'<i style="width:{100 * seconds[stage].mean / whole:.2f}%;background:var({colors[k % len(colors)]})"></i>'
        for k, stage in enumerate(stages)
    )
    rows = ""
    for k, (stage, spent) in enumerate(seconds.items()):
        color = f"var({colors[k % len(colors)]})" if stage != "together" else "transparent"
        key = f'<span class="key" style="background:{color}"></span>'
        cells = "".join(
            f"<td>{value:.3f}</td>" for value in (spent.mean, spent.median, spent.ninety_percent, spent.most)
        )
        rows += f"<tr{'' if stage != 'together' else ' class=sum'}><td>{key}{escape(stage)}</td>{cells}</tr>"
    head = "".join(f"<th>{name}</th>" for name in ("stage", "mean", "median", "90 %", "most"))
    return (
        f'<div class="shares">{shares}</div><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cases(kind: Kind, cases: Sequence[tuple[Case, Pictures]]) -> str:
    title, note = _KINDS[kind]
    if not cases:
        return f"<h2>{title}</h2><p>None.</p>"
    return f'<h2>{title}</h2><p>{note}</p><div class="cases">{"".join(_case(*case) for case in cases)}</div>'


def _case(case: Case, pictures: Pictures) -> str:
    pair = "".join(
        f'<div><img alt="{name}" src="{_data_uri(jpeg)}"><em>{name}</em></div>'
        for name, jpeg in zip(("truth", "found"), pictures, strict=True)
    )
    where = f"scene {case.image.scene_id}, image {case.image.image_id}"
    return (
        f'<figure><div class="pair">{pair}</div>'
        f"<figcaption><b>{escape(case.title)}</b>, {where}<br>{escape(case.detail)}</figcaption></figure>"
    )


def _data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"
