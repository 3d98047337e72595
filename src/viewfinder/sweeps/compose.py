"""Fast composition of many configurations that share their group choices."""

from collections.abc import Sequence
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from viewfinder.config.hydra_internals import PRIMARY, Override, apply_overrides, parse_override, set_hydra_config
from viewfinder.config.overrides import resolve_run_config
from viewfinder.config.yaml_text import to_settings


class Composer:
    """Composer of configurations that differ mostly in values.

    Hydra takes a tenth of a second for a composition. Each combination of group choices is therefore composed once;
    values are then set in a copy by Hydra's own function.

    Args:
        groups: override keys that name groups, with their + or ~.
    """

    def __init__(self, groups: set[str]):
        self.groups = groups
        self.parsed: dict[str, Override] = {}
        self.composed: dict[tuple[str, ...], DictConfig] = {}

    def compose_groups(self, overrides: Sequence[str]) -> DictConfig:
        """Compose only the overrides of groups and of `hydra.*`; the result includes the key `hydra`."""
        choices = tuple(override for override in overrides if self._is_choice(override))
        if choices not in self.composed:
            self.composed[choices] = compose(PRIMARY, list(choices), return_hydra_config=True)
        return self.composed[choices]

    def compose_unresolved(self, overrides: Sequence[str]) -> DictConfig:
        """Compose all overrides, with interpolations unresolved and without the key `hydra`.

        The key `hydra` is set globally instead, where interpolations find it when the result is resolved.
        """
        composed = self.compose_groups(overrides)
        cfg = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
        values = [self._parse(override) for override in overrides if not self._is_choice(override)]
        apply_overrides(cfg, values)
        set_hydra_config(composed)
        return cfg

    def compose_run(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Compose the resolved configuration of a run as plain values."""
        return to_settings(resolve_run_config(self.compose_unresolved(overrides)))

    def _is_choice(self, override: str) -> bool:
        key = override.partition("=")[0]
        return key in self.groups or key.lstrip("+").split(".")[0] == "hydra"

    def _parse(self, override: str) -> Override:
        if override not in self.parsed:
            self.parsed[override] = parse_override(override)
        return self.parsed[override]
