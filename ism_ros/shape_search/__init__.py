"""Search for known objects by their size and shape, over the depth image without masks of a segmentor."""
