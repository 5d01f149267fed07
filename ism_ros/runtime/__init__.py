"""What all models run on: threads, precision, memory, registries, the cache folder and files."""
