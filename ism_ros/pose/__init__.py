"""Poses of detections: alignment of views with the depth, coarse poses, covariances."""
