"""Undocumented parts of Hydra; tests/config/test_hydra_internals.py names the versions they work with."""

import argparse
import functools
from collections.abc import Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep as ChoiceSweep
from hydra.core.override_parser.types import Glob, Quote, QuotedString
from hydra.core.override_parser.types import IntervalSweep as IntervalSweep
from hydra.core.override_parser.types import Override as Override
from hydra.core.override_parser.types import RangeSweep as RangeSweep
from omegaconf import DictConfig


def parse_command_line() -> argparse.Namespace:
    """Parse sys.argv as Hydra does, with overrides anywhere between options."""
    return get_args_parser().parse_intermixed_args()


@functools.cache
def _create_parser() -> OverridesParser:
    return OverridesParser.create()


def parse_override(text: str) -> Override:
    """Parse one override.

    Raises:
        HydraException: if its syntax is invalid; OverrideParseException is a subclass.
    """
    (override,) = _create_parser().parse_overrides([text])
    return override


def quote(text: str) -> str:
    """Return text in quotes, as a value of an override."""
    return QuotedString(text, Quote.single).with_quotes()


def expand_glob(override: Override, options: Sequence[str]) -> None:
    """Replace the value glob(...) of an override by the options that match; do nothing with other values."""
    if isinstance(glob := override.value(), Glob):
        override._value = glob.filter(list(options))


def apply_overrides(cfg: DictConfig, overrides: Sequence[Override]) -> None:
    """Set, add or delete the keys of a composed configuration in place."""
    ConfigLoaderImpl._apply_overrides_to_config(list(overrides), cfg)


def list_group_options(group: str, searchpath: list[str]) -> list[str]:
    """Return the options of a config group while Hydra is initialized.

    Args:
        group: its path, such as hydra/launcher.
        searchpath: overrides of hydra.searchpath.
    """
    loader = GlobalHydra.instance().config_loader()
    return loader.get_group_options(group, ObjectType.CONFIG, "config", searchpath)


def list_groups(searchpath: list[str]) -> list[str]:
    """Return the top-level config groups while Hydra is initialized; `searchpath` as in list_group_options."""
    return GlobalHydra.instance().config_loader().get_group_options("", ObjectType.GROUP, "config", searchpath)


def set_hydra_config(cfg: DictConfig) -> None:
    """Resolve interpolations such as ${hydra:runtime.choices.model} with this configuration's block `hydra`."""
    HydraConfig.instance().set_config(cfg)


def clear_hydra_config() -> None:
    """Make Hydra forget that it is running."""
    HydraConfig.instance().cfg = None
