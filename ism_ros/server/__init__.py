"""The ISM Server: instance segmentation over HTTP."""
