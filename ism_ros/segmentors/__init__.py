"""Class-agnostic proposals: one folder a family of segmentors."""
