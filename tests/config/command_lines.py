"""Invalid command lines drawn from conf/, and the assertions that each of them must satisfy.

Every choice of every group and every key of every choice is misspelt or given an invalid value. The kind of a value
follows from the YAML files or, for null and text, from KINDS; a key of unknown kind fails.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import hydra
import pytest
import pytorch_lightning
import yaml
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from viewfinder.config.hydra_internals import parse_override
from viewfinder.config.overrides import compose_config, find_conf, list_values, parse_overrides
from viewfinder.errors import Problem, UserError
from viewfinder.experiment import check
from viewfinder.experiment.check import try_learning_rate
from viewfinder.experiment.run import run_experiment
from viewfinder.sweeps.plan import plan_jobs

SCREEN, WIDTH = 24, 100
QUICK = ("experiment=quickstart", "trainer=cpu")
IMAGES = "IMAGES"
"""Placeholder for a folder of images in overrides."""
REQUIRED = (
    {
        "data=image_folder": (f"data.root={IMAGES}",),
        "data=torchvision": ("data.name=FashionMNIST", "data.download=false"),
        "data=huggingface": (f"data.path={IMAGES}",),
        "data=csv": (f"data.path={IMAGES}",),
        "experiment=transfer": ("data=digits", "model.weights=null"),
        "experiment=record": ("data=digits",),
        "experiment=fast": ("data=digits",),
        "model=timm": ("model.name=resnet10t", "model.weights=null"),
    }
    | {
        f"model={path.stem}": ("data.channels=3",)
        for path in find_conf().glob("model/*.yaml")
        if "Pretrained" in path.read_text(encoding="utf-8")
    }
    | {
        f"experiment={path.stem}": tuple(
            f"{key}={list_values(parse_override(f'{key}={values}'))[0]}"
            for key, values in yaml.safe_load(path.read_text(encoding="utf-8"))["hydra"]["sweeper"]["params"].items()
        )
        for path in find_conf().glob("experiment/*.yaml")
        if "sweeper" in path.read_text(encoding="utf-8")
    }
)

SWEEP_KEYS = ("hydra", "sweep")
"""Keys of an experiment that belong to a sweep as a whole."""
KINDS = {
    "limit": "whole number",
    "per_class": "whole number",
    "folds": "whole number",
    "classes": "names of classes",
    "channels": "whole number",
    "gradient_clip_val": "number",
    "early_stopping_patience": "whole number",
    "limit_batches": "whole number",
    "threads": "whole number",
    "workers": "whole number",
    "storage": "word",
    "checkpoint_every": "steps or minutes",
    "on_error": "word",
    "sampler": "word",
    "run_dir": "path",
    "class_weights": "weights of classes",
    "accelerator": "word",
    "average": "word",
    "precision": "word",
    "cuda_graph": "word",
    "weights": "word",
    "variant": "word",
    "model.padding": "word",
    "pooling": "word",
    "border": "word",
    "fill": "word",
    "preprocess": "word",
    "hidden": "list of numbers",
    "image_size": "whole number",
    "name": "text",
    "subset": "text",
    "revision": "text",
    "image_column": "text",
    "label_column": "text",
    "arguments": "keys and values",
    "split_names": "keys and values",
    "output_dir": "path",
    "root": "path",
    "path": "path",
    "split_column": "text",
    "fold_column": "text",
    "group_column": "text",
    "_target_": "class",
    "allow": "packages",
    "rerun": "bool",
    "max_failures": "whole number",
    "epochs": "whole number",
    "lr": "number",
    "train": "parts",
    "tracking_uri": "text",
    "experiment_name": "text",
    "project": "text",
    "entity": "text",
    "group": "text",
    "tags": "texts",
    "files": "names of files",
    "gradient_clip_algorithm": "word",
    "start_factor": "number",
    "warmup_steps": "whole number",
    "lr_factor": "number",
    "match": "names of parameters",
    "adjust_lr": "word",
    "averaging.batch_norm": "word",
    "averaging.every": "word",
}
"""Kinds of values that are null or text in YAML, by the last word of the key."""
WRONG_TYPES = {
    "whole number": ("word", "1.5", "true", "[1,2]", "{a: 1}", "null"),
    "number": ("word", "true", "[1,2]", "{a: 1}", "null"),
    "steps or minutes": ("word", "1.5", "true", "[1,2]", "{a: 1}"),
    "bool": ("word", "2", "[true]", "{a: 1}", "null"),
    "text": ("5", "0.5", "true", "[a]", "{a: 1}", "null"),
    "keys and values": ("word", "5", "true", "[a]"),
    "path": ("[a]", "{a: 1}", "null"),  # 5, 0.5 and true are names of folders
    "word": ("5", "0.5", "true", "[a]", "{a: 1}", "null"),
    "class": ("5", "true", "[a]", "{a: 1}", "null"),
    "packages": ("5", "0.5", "true", "[5]", "[[a]]", "{a: 1}"),
    "names of classes": ("word", "5", "true", "[true]", "[0.5]", "[[a]]", "{a: 1}"),
    "list of numbers": ("word", "5", "true", "[word]", "[true]", "[[1]]", "{a: 1}", "null"),
    "weights of classes": ("5", "true", "[word]", "[true]", "{a: 1}"),
    "parts": ("1.5", "true", "[5]", "[[a]]", "{a: 1}", "null"),
    "texts": ("word", "5", "[5]", "[[a]]", "{a: 1}", "null"),
    "names of files": ("word", "5", "[5]", "[[a]]", "{a: 1}", "null"),
    "names of parameters": ("5", "true", "[5]", "[[a]]", "{a: 1}", "null"),
}
OUT_OF_RANGE = {
    "whole number": ("-1", "inf", "nan"),
    "number": ("-1", "inf", "nan"),
    "steps or minutes": ("-1", "0", "inf", "10hours", "min", "-5min"),
    "bool": (),  # both of its values are legal
    "text": (),  # every name is legal
    "keys and values": (),
    "path": (),
    "word": ("wrod",),
    "class": ("viewfinder.models.simple_cnn.Nothing", "no_such_module.Nothing", "Nothing", "torch", "math.pi"),
    "packages": ("os", "[timm,builtins]"),
    "names of classes": ("[]", "[a]", "[a,b,a]", "[1,'1']", "[a,'']"),
    "list of numbers": ("[-1]", "[-1,-1]", "[inf,inf]"),
    "parts": ("-1", "0", "[]"),
    "texts": ("['']",),
    "names of files": ("[run.json]", "[../secret]"),
    "names of parameters": ("no_such_module", "[conv,no_such_module]", "[]"),
    "weights of classes": ("[-1,1]", "[inf,1]", "[1,2]", "balancd"),
}
SHARES = (
    "val_fraction", "test_fraction", "train_fraction", "warmup_fraction", "flip", "factor", "dropout", "block_dropout",
    "label_smoothing",
)  # fmt: skip
TOO_LARGE = dict.fromkeys(SHARES, "2") | {"channels": "2", "betas": "[2,2]"}
NEVER_ZERO = (
    "image_size", "width", "every", "batch_size", "limit", "per_class", "folds", "max_epochs", "devices",
    "accumulate_grad_batches", "early_stopping_patience", "limit_batches", "gradient_clip_val", "start_divisor",
    "end_divisor", "val_fraction", "train_fraction", "factor", "threads", "workers", "max_failures", "max_jobs",
)  # fmt: skip
TOO_SMALL = dict.fromkeys(NEVER_ZERO, "0") | {"widths": "[0]", "hidden": "[0]"}
NULL_IS_LEGAL = {
    "weights", "fused", "checkpoint_every", "phases.fine_tune.lr", "split_column", "fold_column", "group_column",
    "lr_factor", "parameter_groups.norms_and_biases.weight_decay", "parameter_groups.norms.weight_decay",
    "parameter_groups.whitening.epochs",
}  # fmt: skip
"""Keys that YAML does not set to null, but may."""


class Case(NamedTuple):
    """Overrides whose last one is invalid, the key in its error, and the expected suggestion."""

    overrides: tuple[str, ...]
    key: str
    suggestion: str = ""

    def __str__(self) -> str:
        choice = [word for word in self.overrides[:-1] if word not in QUICK and not word.startswith("data.root")]
        return " ".join([*choice, self.overrides[-1]]).replace(" ", "_")


class Key(NamedTuple):
    """A key of the configuration, the overrides that add it, its value in YAML and the class of its group."""

    choices: tuple[str, ...]
    name: str
    value: Any
    target: str = ""

    @property
    def last(self) -> str:
        return self.name.rpartition(".")[2]

    def case(self, word: str, suggestion: str = "") -> Case:
        return Case((*self.choices, word), self.name, suggestion)

    @property
    def kind(self) -> str:
        if known := KINDS.get(self.name, KINDS.get(self.last)):
            return known
        value = self.value[0] if isinstance(self.value, list) else self.value
        kind = {bool: "bool", int: "whole number", float: "number"}[type(value)]
        return "list of numbers" if isinstance(self.value, list) else kind


def iterate_leaves(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, dict):
            yield from iterate_leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def list_choices() -> dict[str, list[str]]:
    files = sorted(find_conf().glob("*/*.yaml"))
    return {group: [f.stem for f in files if f.parent.name == group] for group in {f.parent.name: 0 for f in files}}


def list_keys() -> list[Key]:
    """List every key outside the group hydra, once for each class with this argument."""

    def compose_file(name: str) -> dict[str, Any]:
        text = (find_conf() / f"{name}.yaml").read_text(encoding="utf-8")
        if "/" in name and "defaults:" not in text and "@package" not in text:  # in a fiftieth of the time
            return {name.partition("/")[0]: OmegaConf.to_container(OmegaConf.create(text), resolve=False)}
        plain = OmegaConf.to_container(hydra.compose(name), resolve=False)
        assert isinstance(plain, dict)
        return {str(key): value for key, value in plain.items()}

    with initialize_config_dir(str(find_conf()), version_base="1.3"):
        top = compose_file("config")
        keys = [
            Key(QUICK, name, value) for name, value in iterate_leaves({k: v for k, v in top.items() if k not in GROUPS})
        ]
        for group in GROUPS:
            for choice in GROUPS[group]:
                chosen = f"{group}={choice}"
                if group == "experiment":  # its keys are at the top level
                    node = OmegaConf.to_container(OmegaConf.load(find_conf() / group / f"{choice}.yaml"))
                    assert isinstance(node, dict)
                    values = {str(key): value for key, value in node.items() if key not in ("defaults", *SWEEP_KEYS)}
                else:
                    values = compose_file(f"{group}/{choice}")
                overrides = (*QUICK, *(() if chosen in QUICK else (chosen,)), *REQUIRED.get(chosen, ()))
                targets = {
                    name.rpartition(".")[0]: value
                    for name, value in iterate_leaves(values)
                    if name.endswith("_target_")
                }
                keys += [
                    Key(overrides, name, value, targets.get(name.rpartition(".")[0], ""))
                    for name, value in iterate_leaves(values)
                ]
    return list({(key.target, key.name): key for key in reversed(keys)}.values())


def misspell(word: str) -> tuple[str, str]:
    """Swap two adjacent letters; leave out one letter."""
    pairs = [i for i in range(len(word) - 1) if word[i] != word[i + 1] and "_" not in word[i : i + 2]]
    at = next((i for i in pairs if i), pairs[0])
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :], word[:at] + word[at + 1 :]


def misspell_key(name: str) -> Iterator[str]:
    parent, dot, last = name.rpartition(".")
    for word in misspell(last):
        yield f"{parent}{dot}{word}"


GROUPS = list_choices()
KEYS = list_keys()
CONSTRUCTED: dict[tuple[str, str, float], Any] = {}


def command_lines(cases: Iterator[Case]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Parametrize a test with cases; without --all, a sample of them runs."""
    cases_with_ids = [pytest.param(case, id=str(case), marks=pytest.mark.command_lines) for case in cases]
    return pytest.mark.parametrize("case", cases_with_ids)


def list_files(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_size) for path in folder.rglob("*") if "__pycache__" not in path.parts)


def assert_one_screen(text: str) -> None:
    lines = text.splitlines()
    assert len(lines) <= SCREEN, text
    assert [line for line in lines if len(line) > WIDTH and "/" not in line] == []
    assert "Traceback" not in text


def try_learning_rate_once(node: Mapping[str, Any], group: str, lr: float) -> Any:
    """Construct a node's object, or return the one of an equal node; an invalid node raises each time."""
    key = (json.dumps(node, sort_keys=True), group, lr)
    if key not in CONSTRUCTED:
        CONSTRUCTED[key] = try_learning_rate(node, group, lr)
    return CONSTRUCTED[key]


def start_run(*overrides: str) -> None:
    """Do what `train.py` does before the first epoch; valid nodes of conf/ are tried once, not in each command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytorch_lightning.Trainer, "fit", lambda *_, **__: pytest.fail("training began"))
        patch.setattr(check, "try_learning_rate", try_learning_rate_once)
        run_experiment(compose_config(list(overrides)))


def start_sweep(*overrides: str) -> None:
    """Do what `train.py -m` does before the first job."""
    plan_jobs(parse_overrides(list(overrides)))


def expect_error(*overrides: str, start: Callable[..., Any] = start_run) -> UserError:
    """Return the error of a command line, which fits one screen, contains remedies and leaves no file."""
    before = list_files(Path.cwd())
    with pytest.raises(UserError) as caught:
        start(*overrides)
    assert_one_screen(str(caught.value))
    assert all(problem.rule for problem in caught.value.problems)
    *_, last = caught.value.problems  # a shared remedy is in the last problem
    assert last.remedy or "Did you mean" in last.rule
    assert list_files(Path.cwd()) == before
    return caught.value


def expect_error_before_torch(*overrides: str) -> UserError:
    return expect_error(*overrides, start=lambda *words: parse_overrides(list(words)))


def find_problem(error: UserError, key: str) -> Problem:
    (match,) = [problem for problem in error.problems if problem.key == key]
    return match


def assert_value_rejected(case: Case, cats_and_dogs: Path) -> None:
    overrides = [word.replace(IMAGES, str(cats_and_dogs)) for word in case.overrides]
    start = start_sweep if case.key.startswith("sweep.") else start_run
    problem = find_problem(expect_error(*overrides, start=start), case.key)
    assert problem.received
    assert str(problem) in str(UserError("", [problem]))
