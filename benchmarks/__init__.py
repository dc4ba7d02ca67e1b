"""Benchmarks of speed, memory and accuracy; times are compared as ratios within one run."""
