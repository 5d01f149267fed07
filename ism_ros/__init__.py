"""Instances of novel objects in RGB-D frames, from their CAD models alone."""

__version__ = "0.1.0"
