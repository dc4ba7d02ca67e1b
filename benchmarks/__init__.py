"""Timings of the library against hand-written code and against peers, as ratios in one run."""
