"""Stand-in, in a stored configuration, for a data module that was passed as a Python object."""

from dataclasses import dataclass

from viewfinder.data.module import ImageData
from viewfinder.data.split import Split
from viewfinder.errors import Problem, UserError

REMEDY = "In Python, pass it again: viewfinder.load_run(RUN, {0}=...) or viewfinder.resume(RUN, {0}=...)."
"""What to do, where {0} is the argument of the object."""


@dataclass(kw_only=True, eq=False)
class PythonObject(ImageData):
    """Settings of a data module whose source only Python code knows.

    Args:
        object_class: name of the class of the data module.
    """

    object_class: str

    def list_pictures(self) -> tuple[list[str], dict[str, Split]]:
        rule = "were passed as a Python object, which config.yaml does not contain"
        raise UserError("the data", [Problem("data", rule, self.object_class, REMEDY.format("data"))])
