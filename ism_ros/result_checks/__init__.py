"""Warnings about results: wrong units, images without colours, proposals that were too small."""
