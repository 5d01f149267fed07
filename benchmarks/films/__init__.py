"""Films for the benchmarks of tracking: rendered tables on which something moves, and errors of what is published."""
