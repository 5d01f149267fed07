"""Descriptors of crops: one class token and a grid of patch tokens. One file or folder a descriptor."""
