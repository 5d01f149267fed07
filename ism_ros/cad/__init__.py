"""CAD files: read as meshes in metres, their units, colors and textures."""
