"""Trackers: copies of a run in MLflow or Weights & Biases."""
