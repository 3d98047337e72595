"""What is wrong with arguments, by the signature that they are for.

Types and ranges stand in the signatures, as annotations that pydantic understands.
"""

import functools
import inspect
import json
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError

from viewfinder.errors import Problem

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]

ONLY_OBJECTS = ("is_instance_of", "needs_python_object")
"""Kinds of pydantic's errors about what no YAML can hold, such as a tensor."""
WORDS = {
    "Input should be": "must be",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid array": "a list",
    "a valid string": "text",
    "a valid boolean": "true or false",
    "String should have at least 1 character": "must not be empty",
    "List should have at least 1 item after validation, not 0": "must not be empty",
}


def check_values(key: str, function: Callable[..., Any], values: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with values as arguments of a function; `key` is the prefix of their names."""
    return [
        problem
        for name, (hint, default) in signature_of(function).items()
        if name in values
        for problem in check_value(f"{key}{name}", values[name], hint, default)
    ]


@functools.cache
def signature_of(function: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Argument name -> (type hint, default or inspect.Parameter.empty); {} for what has no readable signature."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    owner = function.__init__ if inspect.isclass(function) else function
    try:
        hints = typing.get_type_hints(owner, include_extras=True)
    except Exception:  # an annotation that cannot be resolved at run time: nothing to compare with
        hints = {}
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {p.name: (hints.get(p.name, Any), p.default) for p in parameters if p.kind not in kinds}


def takes_anything(function: Callable[..., Any]) -> bool:
    """Whether it takes arguments by names that are not in its signature."""
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())


def check_value(key: str, value: Any, hint: Any, default: Any) -> list[Problem]:
    """What is wrong with the value of a key; a node with a `_target_` is right here, whatever is in it."""
    if isinstance(value, dict) and "_target_" in value:
        return []
    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False))
    except PydanticUserError:
        try:
            adapter = TypeAdapter(hint)
        except (PydanticUserError, PydanticSchemaGenerationError, PydanticUndefinedAnnotation):
            return []
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation):
        return []  # a type that only Python objects have
    try:
        # As JSON, since a YAML list may stand for a tuple, but never "3" for 3 or true for 1.
        taken = adapter.validate_json(json.dumps(value), strict=True)
        if isinstance(value, bool) and not isinstance(taken, bool):  # Literal[1, 3] takes true for 1
            return [Problem(key, "must be a number", shown(value), _expects(hint, default))]
    except ValidationError as error:
        rules = dict.fromkeys(_rule(each["msg"]) for each in error.errors() if each["type"] not in ONLY_OBJECTS)
        wanted = " or ".join(rules) or f"must be {hint}"
        remedy = _expects(hint, default)
        if wanted == "must be a list" and isinstance(value, str | int) and value != "":
            remedy = f"Such as '{key}=[{value}]'."
        return [Problem(key, wanted, shown(value), remedy)]
    return []


def _rule(message: str) -> str:
    for pydantic, plain in WORDS.items():
        message = message.replace(pydantic, plain)
    return message


def shown(value: Any) -> str:
    """A value for an error, as JSON."""
    return "(empty)" if value == "" else json.dumps(value, ensure_ascii=False, default=repr)


def _expects(hint: Any, default: Any) -> str:
    if default is not inspect.Parameter.empty:
        return f"The default is {json.dumps(default)}."
    kinds = {int: "32", float: "0.001", bool: "true or false", str: "a word"}
    base = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    return f"For example {kinds[base]}." if base in kinds else "The documentation of its class says what it takes."
