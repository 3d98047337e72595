"""The parts of OmegaConf that are not documented."""

from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from omegaconf import OmegaConf

from viewfinder.config.omegaconf_internals import make_fast_loader
from viewfinder.config.yaml_text import parse_settings

SCALARS = """
floats: [1e-3, 1E5, .5, 1_000.5, -.inf, .nan, 1., 0.1e+2]
integers: [1, -0, 0x1F, 0o17, "017", 017, 1_000, 9007199254740993]
words: [yes, no, on, off, true, False, null, ~, "", '1', "1e-3", 2026-11-28, 12:30:45, a b, ünïcode, "\\u263a"]
nested: {a: {b: [[], {}]}}
text: |
  two
  lines
folded: >-
  one
  line
"""


def test_the_installed_omegaconf_is_of_the_version_that_these_parts_were_seen_in() -> None:
    assert version("omegaconf").startswith("2.3."), "read omegaconf_internals.py against the new version first"


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML without libyaml")
def test_the_fast_loader_reads_what_omegaconf_reads() -> None:
    texts = [SCALARS, *(path.read_text(encoding="utf-8") for path in sorted(Path(ROOT / "conf").rglob("*.yaml")))]
    for text in texts:
        expected = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
        read = yaml.load(text, make_fast_loader())
        assert repr(read or {}) == repr(expected)  # nan is not equal to itself
    assert repr(parse_settings(SCALARS)) == repr(OmegaConf.to_container(OmegaConf.create(SCALARS)))


@pytest.mark.parametrize("text", ["a: 1\na: 2", "a: *b", "a: ${b}", "a: !!python/object:x {}", "a: 2\n- b", "5"])
def test_what_the_fast_loader_does_not_read_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_settings(text)
