"""Random changes of training data, a batch at once on any device."""
