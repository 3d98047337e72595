"""Configurations of many lines that share most of their words."""

from collections.abc import Sequence
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from viewfinder.config.hydra_internals import Override, apply_overrides, parse_override, set_hydra_config
from viewfinder.config.overrides import resolve_run_config


class Compositions:
    """Configurations of lines that share most of their words.

    Hydra takes a tenth of a second to compose one. Its choices of groups are composed once for each combination of
    them; values are then put in as Hydra itself does.

    Args:
        context: words for every line.
        choices: keys, with their + or ~, that are groups.
    """

    def __init__(self, context: list[str], choices: set[str]):
        self.context, self.choices = context, choices
        self.parsed: dict[str, Override] = {}
        self.known: dict[tuple[str, ...], DictConfig] = {}

    def composed(self, line: Sequence[str]) -> DictConfig:
        """Of the line's groups and Hydra's own words, with Hydra's block."""
        first = tuple(word for word in line if self._is_composed(word))
        if first not in self.known:
            self.known[first] = compose("config", [*self.context, *first], return_hydra_config=True)
        return self.known[first]

    def of(self, line: Sequence[str]) -> DictConfig:
        """Of the whole line, without Hydra's block, for which interpolations look until it is resolved."""
        composed = self.composed(line)
        cfg = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
        values = [self._parse(word) for word in line if not self._is_composed(word)]
        apply_overrides(cfg, values)
        set_hydra_config(composed)
        return cfg

    def config(self, line: Sequence[str]) -> dict[str, Any]:
        """Resolved, as a run has it."""
        found: Any = OmegaConf.to_container(resolve_run_config(self.of(line)))
        return found

    def _is_composed(self, word: str) -> bool:
        key = word.partition("=")[0]
        return key in self.choices or key.lstrip("+").split(".")[0] == "hydra"

    def _parse(self, word: str) -> Override:
        if word not in self.parsed:
            self.parsed[word] = parse_override(word)
        return self.parsed[word]
