"""What the networks are trained for: data, loss and validation of the segmentor and of the descriptor."""
