"""Data types of one frame and its results, and pure functions on boxes and masks."""
