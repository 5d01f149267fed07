"""Training data on disk: its folders, how they are written, and how they are read onto a device."""
