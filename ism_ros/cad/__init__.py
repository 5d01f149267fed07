"""CAD files: read as meshes in metres, their units, colours and textures."""
