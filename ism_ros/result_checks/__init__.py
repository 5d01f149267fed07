"""Warnings about results: wrong units, images without colors, proposals that were too small."""
