"""Instances over time: ids that stay, and poses that are followed from frame to frame."""
