"""Undocumented parts of Hydra behave as viewfinder expects.

Seen with Hydra 1.3.2 to 1.3.8. If a test fails after an upgrade, adapt viewfinder/config/hydra_internals.py, the one
module that imports them.
"""

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import hydra
import pytest
from conftest import ROOT
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException

from viewfinder.config import hydra_internals
from viewfinder.config.hydra_internals import ChoiceSweep, IntervalSweep, RangeSweep, parse_override
from viewfinder.config.overrides import find_conf

DOCUMENTED = {"hydra", "hydra.utils", "hydra.errors", "hydra.core.hydra_config"}


@pytest.fixture
def initialized() -> Iterator[None]:
    with hydra.initialize_config_dir(str(find_conf()), version_base="1.3"):
        yield


def test_the_installed_hydra_is_of_the_version_that_these_parts_were_seen_in() -> None:
    assert version("hydra-core").startswith("1.3."), "read hydra_internals.py against the new version first"


def test_no_other_module_imports_them() -> None:
    files = [path for folder in ("src", "bench") for path in (ROOT / folder).rglob("*.py")]
    nodes = [(path, node) for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    imports = [(path.name, node.module) for path, node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    imports += [(path.name, name.name) for path, node in nodes if isinstance(node, ast.Import) for name in node.names]
    private = {name for name, module in imports if module.split(".")[0] == "hydra" and module not in DOCUMENTED}
    assert private == {"hydra_internals.py"}


def test_overrides_may_stand_between_options_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "a=1", "-m", "b=2", "--cfg", "job", "c=3"])
    arguments = hydra_internals.parse_command_line()
    assert arguments.overrides == ["a=1", "b=2", "c=3"]
    assert (arguments.multirun, arguments.cfg) == (True, "job")
    names = ("help", "hydra_help", "shell_completion", "info")
    assert not any(getattr(arguments, name) for name in names)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("a.b=1", "a.b", 1),
        ("+a=text", "a", "text"),
        ("++a='b c'", "a", "b c"),
        ("a=[1,{b: null}]", "a", [1, {"b": None}]),
        ("=1", "", 1),
    ],
)
def test_an_override_has_a_key_and_a_value(text: str, key: str, value: object) -> None:
    override = parse_override(text)
    assert (override.key_or_group, override.value(), override.input_line) == (key, value, text)
    assert (override.is_add(), override.is_force_add()) == (text[:2] == "+a", text[:2] == "++")
    assert (override.is_delete(), override.is_sweep_override()) == (False, False)


def test_an_override_keeps_its_prefix_in_the_key_element() -> None:
    texts = ("a=1", "+a=1", "++a=1", "~a")
    assert [parse_override(text).get_key_element() for text in texts] == ["a", "+a", "++a", "~a"]
    assert parse_override("~a").is_delete()
    assert parse_override("hydra.job.name=x").is_hydra_override()


@pytest.mark.parametrize(
    ("text", "kind", "values"),
    [
        ("a=1,b", ChoiceSweep, ["1", "b"]),
        ("a=choice(1,2)", ChoiceSweep, ["1", "2"]),
        ("a=range(1,4)", RangeSweep, ["1", "2", "3"]),
    ],
)
def test_a_sweep_lists_its_values_as_text(text: str, kind: type, values: list[str]) -> None:
    override = parse_override(text)
    assert isinstance(override.value(), kind)
    assert list(override.sweep_string_iterator()) == values


def test_an_interval_has_two_ends_and_tags() -> None:
    override = parse_override("a=tag(log, interval(1,10))")
    interval = override.value()
    assert override.is_interval_sweep()
    assert isinstance(interval, IntervalSweep)
    assert (interval.start, interval.end, interval.tags) == (1, 10, {"log"})


def test_invalid_syntax_raises_an_exception_of_hydra() -> None:
    with pytest.raises(HydraException, match="Error parsing override"):
        parse_override("a=(1")


def test_a_glob_becomes_the_options_that_match() -> None:
    override, other = parse_override("model=glob(*cnn)"), parse_override("model=mlp")
    for swept in (override, other):
        hydra_internals.expand_glob(swept, ["custom_cnn", "mlp", "simple_cnn"])
    assert list(override.sweep_string_iterator()) == ["custom_cnn", "simple_cnn"]
    assert other.value() == "mlp"


def test_overrides_change_add_and_delete_keys_as_in_a_composition(initialized: None) -> None:
    texts = ["optimizer.lr=0.5", "+optimizer.new={a: 1}", "++optimizer.eps=2", "~optimizer.betas"]
    cfg = hydra.compose("config", ["optimizer=adam"])
    hydra_internals.apply_overrides(cfg, [parse_override(text) for text in texts])
    assert cfg == hydra.compose("config", ["optimizer=adam", *texts])
    assert (cfg.optimizer.lr, cfg.optimizer.new.a, cfg.optimizer.eps, "betas" in cfg.optimizer) == (0.5, 1, 2, False)


def test_groups_and_their_options_are_listed_with_those_of_a_search_path(initialized: None, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").touch()
    searchpath = [f"hydra.searchpath=['file://{tmp_path}']"]
    shipped = sorted(path.stem for path in find_conf().glob("model/*.yaml"))
    assert hydra_internals.list_group_options("model", []) == shipped
    assert hydra_internals.list_group_options("model", searchpath) == sorted([*shipped, "mine"])
    assert hydra_internals.list_group_options("no_such_group", []) == []
    assert {path.name for path in find_conf().iterdir() if path.is_dir()} <= set(hydra_internals.list_groups([]))


def test_hydra_seems_to_run_until_its_configuration_is_cleared(initialized: None) -> None:
    cfg = hydra.compose("config", return_hydra_config=True)
    hydra_internals.set_hydra_config(cfg)
    assert HydraConfig.initialized()
    assert cfg.name == "simple_cnn"
    hydra_internals.clear_hydra_config()
    assert not HydraConfig.initialized()
