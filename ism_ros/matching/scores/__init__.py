"""Scores of SAM-6D: semantic by class tokens, appearance and visible ratio by patch tokens, geometric by CAD models."""
