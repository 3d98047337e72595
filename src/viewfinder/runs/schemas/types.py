"""Types of values that several schemas have."""

from typing import Annotated

from pydantic import ConfigDict, Field

Whole = Annotated[int, Field(ge=0, le=2**53)]
Side = Annotated[int, Field(ge=1, le=2**14)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
OPEN = ConfigDict(extra="allow", strict=True)
"""Strict types, and further keys are allowed."""
