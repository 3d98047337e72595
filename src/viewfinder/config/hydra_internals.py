"""Undocumented parts of Hydra; tests/config/test_hydra_internals.py names the versions they work with."""

import argparse
import functools
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import get_args_parser
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep as ChoiceSweep
from hydra.core.override_parser.types import Glob, Quote, QuotedString
from hydra.core.override_parser.types import IntervalSweep as IntervalSweep
from hydra.core.override_parser.types import Override as Override
from hydra.core.override_parser.types import RangeSweep as RangeSweep
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigLoadError, ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from viewfinder.config.omegaconf_internals import make_fast_loader
from viewfinder.config.yaml_text import decode_yaml
from viewfinder.errors import Problem, UserError

PRIMARY = "config"
"""Name of the file with the defaults list."""
OWN = "your own files"
"""Name of the user's folders on Hydra's search path."""


class ReadableFiles(FileConfigSource):
    """Files of configurations in UTF-8, with or without a byte-order mark.

    The user's own folders never provide the primary file: Hydra would take its own defaults for those it lacks.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        path = os.path.realpath(Path(self.path) / self._normalize_file_name(config_path))
        if not Path(path).exists():
            raise ConfigLoadError(f"Config not found : {path}")
        text = decode_yaml(Path(path))
        stream = io.StringIO(text)
        stream.name = path  # for errors of YAML
        try:
            cfg = _load_fast(text) or OmegaConf.load(stream)  # type: ignore[arg-type]
        except OSError:  # a single word
            cfg = None
        if not isinstance(cfg, DictConfig):
            rule = "must contain keys and values, such as lr: 1e-3"
            raise UserError("the configuration", [Problem(path, rule, remedy="Fix that file.")])
        header = self._get_header_dict(text[:512])
        return ConfigResult(config=cfg, path=f"{self.scheme()}://{self.path}", provider=self.provider, header=header)

    def is_config(self, config_path: str) -> bool:
        is_hidden = self.provider == OWN and self._normalize_file_name(config_path) == f"{PRIMARY}.yaml"
        return not is_hidden and super().is_config(config_path)


def _load_fast(text: str) -> DictConfig | None:
    """Load the text of a YAML file with libyaml; None if it is not valid, which the slower parser explains better."""
    if (loader := make_fast_loader()) is None:
        return None
    try:
        values = yaml.load(text, loader)
        return OmegaConf.create(values) if isinstance(values, dict) and values else None
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError):
        return None


def search_first(list_folders: Callable[[], list[Path]]) -> None:
    """Let Hydra search folders before its main one, from now on whenever it is initialized."""

    class OwnFolders(SearchPathPlugin):
        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            if any(element.provider == "main" for element in search_path.get_path()):
                for folder in list_folders():  # each directly before the main one
                    search_path.prepend(OWN, f"{ReadableFiles.scheme()}://{folder}", "main")

    Plugins.instance().register(OwnFolders)
    SourcesRegistry.instance().types[ReadableFiles.scheme()] = ReadableFiles


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
    try:
        (override,) = _create_parser().parse_overrides([text])
    except ValueError as error:  # Python reads no integer of more than 4,300 digits
        raise HydraException(str(error)) from error
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
