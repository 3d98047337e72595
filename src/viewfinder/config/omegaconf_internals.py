"""Undocumented parts of OmegaConf; tests/config/test_omegaconf_internals.py names the versions they work with."""

import functools
from typing import Any

import yaml
from omegaconf._utils import get_yaml_loader


@functools.cache
def make_fast_loader() -> Any:
    """Return OmegaConf's loader of YAML on the parser of libyaml, which is many times faster; None without libyaml."""
    if not yaml.__with_libyaml__:
        return None
    from yaml.cyaml import CParser  # type: ignore[reportAttributeAccessIssue]

    loader = get_yaml_loader()

    class FastLoader(CParser, loader):
        def __init__(self, stream: str):
            CParser.__init__(self, stream)
            yaml.constructor.SafeConstructor.__init__(self)
            yaml.resolver.Resolver.__init__(self)

    return FastLoader
