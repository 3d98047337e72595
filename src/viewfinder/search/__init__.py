"""Hyper-parameter search with Optuna: what is searched, which trials there are, and how they are carried out."""
