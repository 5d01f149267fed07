"""What of each CAD format is put right before or after trimesh reads it: file names, materials, colors."""
