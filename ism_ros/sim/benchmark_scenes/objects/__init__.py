"""Procedural objects of the benchmark scenes. Training never sees them; its own are in training/training_scenes."""
