"""What runs in a process that owns a model."""
