"""What the benchmarks share: scenes, scoring, pictures, a node under load, times and tables."""
