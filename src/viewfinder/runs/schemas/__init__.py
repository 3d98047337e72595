"""Schemas of the JSON files of a run folder and a sweep folder.

Columns of metrics.csv: training/callbacks/epoch_log.py. Columns of predictions.csv: evaluation/predictions_csv.py.
"""
