"""Images and templates of meshes, rendered on the CPU."""
