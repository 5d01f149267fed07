"""Frames and cameras from files, and results into files."""
