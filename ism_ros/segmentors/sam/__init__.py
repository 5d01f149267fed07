"""Automatic masks of SAM and SAM 2."""
