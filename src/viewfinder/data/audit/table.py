"""Type of the tables of an audit."""

from typing import Any

Table = Any
"""pandas.DataFrame. Types of columns that are selected by name are unknown to pandas' stubs."""
