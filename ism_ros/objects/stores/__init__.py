"""Files of objects: the objects file, cached descriptors and patch tokens."""
