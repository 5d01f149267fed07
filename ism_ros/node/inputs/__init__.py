"""Subscriptions to rgb, depth and camera_info, and their synchronisation."""
