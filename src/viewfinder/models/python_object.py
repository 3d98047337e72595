"""Stand-in, in a stored configuration, for a network that was passed as a Python object."""

from torch import nn

from viewfinder.data.sources.python_object import REMEDY
from viewfinder.errors import Problem, UserError


def python_object(object_class: str) -> nn.Module:
    """Raise UserError, because a configuration cannot construct an object that Python code constructed.

    Args:
        object_class: name of the class of the network.
    """
    rule = "was passed as a Python object, which config.yaml does not contain"
    raise UserError("the configuration", [Problem("model", rule, object_class, REMEDY.format("model"))])
