"""FastSAM: a YOLOv8-seg network of one class."""
