"""What speaks for and against detections: the features that their scores are made of, and what each contributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

EvidenceRecord = Mapping[str, Mapping[str, float]]
"""Evidence of one detection as JSON has it: name -> {"value": .., "contribution": ..}."""


@dataclass(frozen=True)
class DetectionEvidence:
    """Features of N detections, F of each.

    Attributes:
        names: Of the F features.
        values: (N, F) float32; NaN in rows of detections that were not verified.
        contributions: (N, F) float32 log-odds, positive where a feature speaks for the detection, negative where it
            speaks against it (matching.calibration); NaN likewise.
    """

    names: tuple[str, ...]
    values: Tensor
    contributions: Tensor

    @staticmethod
    def from_records(records: Sequence[EvidenceRecord | None]) -> DetectionEvidence | None:
        """Read what `record` made.

        Args:
            records: Of N detections; None for those that were not verified.

        Returns:
            The evidence, on the CPU, or None where no detection was verified.
        """
        names = next((tuple(record) for record in records if record), ())
        if not names:
            return None
        unknown = {"value": torch.nan, "contribution": torch.nan}
        values, contributions = (
            torch.tensor([[(record or {}).get(name, unknown)[part] for name in names] for record in records])
            for part in ("value", "contribution")
        )
        return DetectionEvidence(names, values, contributions)

    def record(self, row: int) -> EvidenceRecord | None:
        """Return the evidence of one detection, or None where it was not verified."""
        if not bool(self.is_verified()[row]):
            return None
        numbers = zip(self.names, self.values[row].tolist(), self.contributions[row].tolist(), strict=True)
        return {name: {"value": value, "contribution": contribution} for name, value, contribution in numbers}

    def is_verified(self) -> Tensor:
        """Return which detections were verified, (N,) bool."""
        return self.values.isfinite().all(dim=1)

    def each(self, act: Callable[[Tensor], Tensor]) -> DetectionEvidence:
        """Apply `act`, such as a choice of rows, to values and contributions."""
        return DetectionEvidence(self.names, act(self.values), act(self.contributions))


def joined_evidence(parts: Sequence[DetectionEvidence]) -> DetectionEvidence:
    """Join the rows of evidence of the same features.

    Args:
        parts: At least one.

    Returns:
        The evidence.
    """
    values, contributions = (torch.cat([getattr(part, name) for part in parts]) for name in ("values", "contributions"))
    return DetectionEvidence(parts[0].names, values, contributions)
