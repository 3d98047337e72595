"""Executors, which run the jobs of sweeps and searches."""
