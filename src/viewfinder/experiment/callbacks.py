"""Callbacks of a training that its configuration names: averaging, Lookahead and freezing."""

from collections.abc import Mapping
from typing import Any

from pytorch_lightning.callbacks import Callback
from torch import nn

from viewfinder.config.instantiate import instantiate
from viewfinder.training.callbacks.freezing import Freezing
from viewfinder.training.parameter_groups import ParameterGroups


def build_callbacks(settings: Mapping[str, Any], network: nn.Module) -> list[Callback]:
    """Build the callbacks of a valid configuration, in the order in which they act after a step."""
    lookahead, averaging = (
        instantiate(settings[group], group) if settings.get(group) else None for group in ("lookahead", "averaging")
    )
    if lookahead is not None and averaging is not None:
        lookahead.is_evaluated = False
    callbacks: list[Callback] = [callback for callback in (lookahead, averaging) if callback is not None]
    groups = ParameterGroups(settings.get("parameter_groups"), network, settings["optimizer"])
    return [*callbacks, Freezing(groups.epochs)] if groups.epochs else callbacks
