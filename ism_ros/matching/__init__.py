"""Matching of proposals with known objects: candidates, scores, geometry and the selection of detections."""
