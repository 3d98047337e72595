"""Validate arguments against a callable's signature.

Types and ranges are annotations of the signature that pydantic understands.
"""

import functools
import inspect
import json
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError

from viewfinder.errors import Problem

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]

OBJECT_ERRORS = ("is_instance_of", "needs_python_object")
"""Types of pydantic's errors about values that YAML cannot contain, such as a tensor."""
PLAIN_PHRASES = {
    "Input should be": "must be",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid array": "a list",
    "a valid string": "text",
    "a valid boolean": "true or false",
    "String should have at least 1 character": "must not be empty",
    "List should have at least 1 item after validation, not 0": "must not be empty",
}
EXAMPLES = {int: "32", float: "0.001", bool: "true or false", str: "a word"}


def validate_arguments(prefix: str, function: Callable[..., Any], values: Mapping[str, Any]) -> list[Problem]:
    """Validate the arguments of a function and return the problems; errors put `prefix` before each name."""
    return [
        problem
        for name, (hint, default) in read_signature(function).items()
        if name in values
        for problem in validate_value(f"{prefix}{name}", values[name], hint, default)
    ]


@functools.cache
def read_signature(function: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Map each argument to its type hint and its default, or inspect.Parameter.empty; {} without a signature."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    owner = function.__init__ if inspect.isclass(function) else function
    try:
        hints = typing.get_type_hints(owner, include_extras=True)
    except Exception:  # an annotation that cannot be resolved at run time
        hints = {}
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {p.name: (hints.get(p.name, Any), p.default) for p in parameters if p.kind not in variadic}


def accepts_any_argument(function: Callable[..., Any]) -> bool:
    """Return whether a function has a parameter such as **kwargs."""
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())


def validate_value(key: str, value: Any, hint: Any, default: Any) -> list[Problem]:
    """Validate the value of a key and return the problems; nodes with a `_target_` are not checked here."""
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
        return []  # a type that YAML cannot express
    try:
        # JSON mode accepts a list for a tuple; strict mode rejects "3" for 3 and true for 1.
        # "replace" is for surrogates, which stand for the bytes of a path that is not UTF-8.
        content = json.dumps(value, ensure_ascii=False, default=_to_json).encode("utf-8", "replace")
        validated = adapter.validate_json(content, strict=True)
        if isinstance(value, bool) and not isinstance(validated, bool):  # Literal[1, 3] accepts true for 1
            return [Problem(key, "must be a number", format_value(value), _suggest_value(hint, default))]
    except ValidationError as error:
        messages = [detail["msg"] for detail in error.errors() if detail["type"] not in OBJECT_ERRORS]
        rule = " or ".join(dict.fromkeys(map(_rephrase, messages))) or f"must be {hint}"
        remedy = _suggest_quotes(key, value, rule) or _suggest_value(hint, default)
        if rule == "must be a list" and isinstance(value, str | int) and value != "":
            remedy = f"For example '{key}=[{value}]'."
        return [Problem(key, rule, format_value(value), remedy)]
    return []


def _rephrase(message: str) -> str:
    for phrase, plain in PLAIN_PHRASES.items():
        message = message.replace(phrase, plain)
    return message


def format_value(value: Any) -> str:
    """Format a value as JSON, for errors."""
    return "(empty)" if value == "" else json.dumps(value, ensure_ascii=False, default=_to_json)


def _to_json(value: Any) -> str:
    """Return the text of a value that JSON lacks, such as a path or an enumeration."""
    return str(value.value if isinstance(value, Enum) else value)


def _suggest_quotes(key: str, value: Any, rule: str) -> str:
    """Return how to write text that YAML or Hydra reads as another value; '' if text is not expected."""
    values = value if isinstance(value, list) else [value]
    if "must be text" not in rule:
        return ""
    if any(isinstance(each, bool) for each in values):
        return 'YAML reads no, off, yes and on as false and true. For the word, put it in quotes: "no".'
    if any(isinstance(each, int | float) for each in values):
        return (
            f"For text, put it in quotes: '{key}=\"{format_value(value)}\"'."
            if values == [value]
            else ('YAML reads 010, 1_0, 12:30 and 1e-3 as numbers. For text, put them in quotes: "010".')
        )
    return ""


def _suggest_value(hint: Any, default: Any) -> str:
    if default is not inspect.Parameter.empty:
        return f"The default is {format_value(default)}."
    base = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    return f"For example {EXAMPLES[base]}." if base in EXAMPLES else "See the documentation of its class."
