"""Whether depth is registered to the color image, told from the frame alone, and its registration where it is not."""
