"""Loading of a state_dict into a network, with errors that name the keys that differ."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from viewfinder.errors import Problem, UserError, join_names

CLASSIFIER_PREFIX = "network."
"""Prefix of the network's keys in a run's checkpoint."""
PARALLEL_PREFIX = "module."
"""Prefix of all keys in a state_dict of torch.nn.DataParallel."""


class WeightsMismatchError(UserError):
    """Weights whose keys or shapes differ from the network's."""


def load_into(
    network: nn.Module,
    state: Mapping[str, Any],
    weights: str,
    remedy: str,
    is_optional: Callable[[str], bool] = lambda _: False,
) -> None:
    """Load a state_dict into a network.

    Args:
        weights: origin of the state_dict, for errors.
        is_optional: whether a key of the network may be missing from the state_dict.

    Raises:
        WeightsMismatchError: if keys are missing, unexpected or of another shape.
        UserError: if values are NaN or infinite.
    """
    own = network.state_dict()
    reshaped = [key for key in own if key in state and getattr(state[key], "shape", None) != own[key].shape]
    fitting = copy.copy(state)  # keeps the module versions, which torch needs to convert keys of earlier releases
    for key in reshaped:
        del fitting[key]  # type: ignore[attr-defined]
    try:
        missing, unexpected = network.load_state_dict(fitting, strict=False)
    except Exception as error:  # raised by a module's own loading hook
        raise invalid_weights(weights, f"does not match: {' '.join(str(error).split())[:300]}", remedy) from error
    missing = [key for key in missing if key not in reshaped and not is_optional(key)]
    shapes = [f"{key}: {_describe_shape(state[key])}, expected {_describe_shape(own[key])}" for key in reshaped]
    differences = [
        f"{len(keys)} {kind} ({join_names(keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for kind, keys in (("missing", missing), ("unexpected", unexpected), ("of a different shape", shapes))
        if keys
    ]
    if differences:
        rule = f"does not match this network; keys: {'; '.join(differences)}"
        raise invalid_weights(weights, rule, remedy, WeightsMismatchError)
    for key, value in network.state_dict().items():
        if value.is_floating_point() and not is_optional(key) and not value.isfinite().all():
            raise invalid_weights(weights, f"contains NaN or infinite values in {key}", "Use other weights.")


def strip_prefix(state: dict[str, Any]) -> dict[str, Any]:
    """Return the network's part of a Classifier's or DataParallel's state_dict; return any other unchanged."""
    if state and all(key.startswith(PARALLEL_PREFIX) for key in state):
        consume_prefix_in_state_dict_if_present(state, PARALLEL_PREFIX)
    if not any(key.startswith(CLASSIFIER_PREFIX) for key in state):
        return state
    prefix = CLASSIFIER_PREFIX
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def invalid_weights(received: str | None, rule: str, remedy: str, kind: type[UserError] = UserError) -> UserError:
    return kind("the weights", [Problem("model.weights", rule, received, remedy)])


def _describe_shape(value: Any) -> str:
    return "x".join(map(str, value.shape)) or "scalar" if isinstance(value, torch.Tensor) else type(value).__name__
