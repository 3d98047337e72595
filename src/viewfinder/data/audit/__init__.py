"""Audit of the images of a data set: facts, duplicates, suspects."""
