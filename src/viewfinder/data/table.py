"""Type of tables."""

from typing import Any

Table = Any
"""A pandas.DataFrame. Type checkers take a selection of its rows or columns for something else."""
