"""What a crop looks like: one class token and a grid of patch tokens. One file or folder a descriptor."""
