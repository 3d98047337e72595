"""Sweeps and searches: planning, execution and results of many runs."""
