"""What speaks for and against a detection, in a few words for people."""

from __future__ import annotations

from ism_ros.data.detection_evidence import EvidenceRecord

MIN_CONTRIBUTION = 0.5
"""Least size of a contribution that is told, log-odds."""
MAX_FOR, MAX_AGAINST = 2, 1
"""Most features that are told."""
TEXTS = {
    "agreeing": "surface {:.2f}",
    "close": "close fit {:.2f}",
    "explained": "mask fits {:.2f}",
    "outline_iou": "outline {:.2f}",
    "inside": "inside {:.2f}",
    "continues": "continues {:.2f}",
    "nearer": "in front {:.2f}",
    "hidden": "hidden {:.2f}",
    "measured": "depth {:.2f}",
    "normals": "slopes {:.2f}",
    "color_correlation": "color {:.2f}",
    "chroma": "color shift {:.2f}",
    "visible_pixels": "10^{:.1f} pixels",
    "balanced_chroma": "lit color {:.2f}",
    "saturation": "saturation {:.2f}",
    "edges": "edges {:.2f}",
    "inner_edges": "texture {:.2f}",
    "relative_noise": "depth noise {:.1f}",
    "semantic": "looks {:.2f}",
    "margin": "looks lead {:.2f}",
    "confidence": "proposal {:.2f}",
    "single_instance": "only one other {:.2f}",
}
"""Features as people read them, with their values; one that is not here has its own name."""


def evidence_items(evidence: EvidenceRecord | None) -> list[str]:
    """Tell what speaks most for and against a detection.

    Args:
        evidence: Of the detection, or None where it was not verified.

    Returns:
        Such as "+ outline 0.93" and "- color 0.41": the strongest first, at most MAX_FOR and then MAX_AGAINST.
    """
    told = [(numbers["contribution"], _text(name, numbers["value"])) for name, numbers in (evidence or {}).items()]
    told.sort(reverse=True)
    speaks_for = [f"+ {text}" for contribution, text in told if contribution >= MIN_CONTRIBUTION]
    against = [f"- {text}" for contribution, text in reversed(told) if contribution <= -MIN_CONTRIBUTION]
    return speaks_for[:MAX_FOR] + against[:MAX_AGAINST]


def _text(name: str, value: float) -> str:
    return TEXTS[name].format(value) if name in TEXTS else f"{name.replace('_', ' ')} {value:.2f}"
