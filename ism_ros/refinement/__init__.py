"""Refinement of poses against the depth image and the outlines of masks."""
