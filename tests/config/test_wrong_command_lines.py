"""Whatever is typed wrong is answered on one screen, with its remedy, before anything is made: a matrix from conf/.

Every choice of every group and every key of every choice is typed wrong in each way there is. The kinds of values come
from the YAML files themselves; what those cannot tell stands in the tables below, and a key that is in neither fails.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hydra
import numpy as np
import pytest
import pytorch_lightning
import torch
from hydra import initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from viewfinder.config.overrides import compose_config, find_conf, parse_overrides
from viewfinder.errors import Problem, UserError
from viewfinder.experiment.build import check_config
from viewfinder.experiment.run import run_experiment
from viewfinder.sweeps.plan import plan

ROOT = Path(__file__).resolve().parents[2]
SCREEN, WIDTH = 24, 100
QUICK = ("experiment=quickstart", "trainer=cpu")
PICTURES = "PICTURES"  # stands for a small folder of pictures in what is typed
NEEDED = {
    "data=image_folder": (f"data.root={PICTURES}",),
    "experiment=transfer": ("data=digits", "model.weights=null"),
} | {
    f"model={path.stem}": ("data.channels=3",)
    for path in find_conf().glob("model/*.yaml")
    if "Pretrained" in path.read_text(encoding="utf-8")
}

# What a key may hold whose YAML holds null, and what a text stands for; by the key's own name.
KINDS = {
    "limit": "whole number",
    "per_class": "whole number",
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
    "run_dir": "text",
    "class_weights": "weights of classes",
    "accelerator": "word",
    "precision": "word",
    "cuda_graph": "word",
    "weights": "word",
    "variant": "word",
    "preprocess": "word",
    "hidden": "list of numbers",
    "image_size": "whole number",
    "name": "text",
    "output_dir": "text",
    "root": "text",
    "_target_": "class",
    "allow": "packages",
    "rerun": "bool",
    "max_failures": "whole number",
    "epochs": "whole number",
    "lr": "number",
    "train": "parts",
}
WRONG_TYPES = {
    "whole number": ("word", "1.5", "true", "[1,2]", "{a: 1}", "null"),
    "number": ("word", "true", "[1,2]", "{a: 1}", "null"),
    "steps or minutes": ("word", "1.5", "true", "[1,2]", "{a: 1}"),
    "bool": ("word", "2", "[true]", "{a: 1}", "null"),
    "text": ("5", "0.5", "true", "[a]", "{a: 1}", "null"),
    "word": ("5", "0.5", "true", "[a]", "{a: 1}", "null"),
    "class": ("5", "true", "[a]", "{a: 1}", "null"),
    "packages": ("5", "0.5", "true", "[5]", "[[a]]", "{a: 1}"),
    "names of classes": ("word", "5", "true", "[true]", "[0.5]", "[[a]]", "{a: 1}"),
    "list of numbers": ("word", "5", "true", "[word]", "[true]", "[[1]]", "{a: 1}", "null"),
    "weights of classes": ("5", "true", "[word]", "[true]", "{a: 1}"),
    "parts": ("1.5", "true", "[5]", "[[a]]", "{a: 1}", "null"),
}
OUT_OF_RANGE = {
    "whole number": ("-1", "inf", "nan"),
    "number": ("-1", "inf", "nan"),
    "steps or minutes": ("-1", "0", "inf", "10hours", "min", "-5min"),
    "bool": (),  # both of its values are legal
    "text": (),  # a name or a place: any is legal until it is looked for
    "word": ("wrod",),
    "class": ("viewfinder.models.simple_cnn.Nothing", "no_such_module.Nothing", "Nothing", "torch", "math.pi"),
    "packages": ("os", "[timm,builtins]"),
    "names of classes": ("[]", "[a]", "[a,b,a]", "[1,'1']", "[a,'']"),
    "list of numbers": ("[-1]", "[-1,-1]", "[inf,inf]"),
    "parts": ("-1", "0", "[]"),
    "weights of classes": ("[-1,1]", "[inf,1]", "[1,2]", "balancd"),
}
SHARES = (
    "val_fraction", "test_fraction", "train_fraction", "warmup_fraction", "flip", "factor", "dropout", "block_dropout",
    "label_smoothing",
)  # fmt: skip
TOO_LARGE = dict.fromkeys(SHARES, "2") | {"channels": "2", "betas": "[2,2]"}
NEVER_ZERO = (
    "image_size", "width", "every", "batch_size", "limit", "per_class", "max_epochs", "devices",
    "accumulate_grad_batches", "early_stopping_patience", "limit_batches", "gradient_clip_val", "start_divisor",
    "end_divisor", "val_fraction", "train_fraction", "factor", "threads", "workers", "max_failures", "max_jobs",
)  # fmt: skip
TOO_SMALL = dict.fromkeys(NEVER_ZERO, "0") | {"widths": "[0]", "hidden": "[0]"}
# Random weights; torch's own choice; none within an epoch; the optimizer's.
NULL_IS_LEGAL = {"weights", "fused", "checkpoint_every", "phases.fine_tune.lr"}


class Case(NamedTuple):
    """What is typed, the key at fault, and what was meant where that is known."""

    typed: tuple[str, ...]
    key: str
    meant: str = ""

    def __str__(self) -> str:
        choice = [word for word in self.typed[:-1] if word not in QUICK and not word.startswith("data.root")]
        return " ".join([*choice, self.typed[-1]]).replace(" ", "_")


class Key(NamedTuple):
    """A key of the configuration with the choices that bring it and what its YAML holds."""

    choices: tuple[str, ...]
    name: str
    value: Any
    target: str = ""

    @property
    def last(self) -> str:
        return self.name.rpartition(".")[2]

    def typed(self, word: str, meant: str = "") -> Case:
        return Case((*self.choices, word), self.name, meant)

    @property
    def kind(self) -> str:
        if self.last in KINDS:
            return KINDS[self.last]
        value = self.value[0] if isinstance(self.value, list) else self.value
        kind = {bool: "bool", int: "whole number", float: "number"}[type(value)]
        return "list of numbers" if isinstance(self.value, list) else kind


def leaves(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def all_choices() -> dict[str, list[str]]:
    files = sorted(find_conf().glob("*/*.yaml"))
    return {group: [f.stem for f in files if f.parent.name == group] for group in {f.parent.name: 0 for f in files}}


def all_keys() -> list[Key]:
    """Every key that is not Hydra's own, once for each class that it is an argument of."""

    def composed(name: str) -> dict[str, Any]:
        found = OmegaConf.to_container(hydra.compose(name), resolve=False)
        assert isinstance(found, dict)
        return {str(key): value for key, value in found.items()}

    with initialize_config_dir(str(find_conf()), version_base="1.3"):
        top = composed("config")
        keys = [Key(QUICK, name, value) for name, value in leaves({k: v for k, v in top.items() if k not in GROUPS})]
        for group in GROUPS:
            for choice in GROUPS[group]:
                chosen = f"{group}={choice}"
                if group == "experiment":  # its keys belong to no group of their own
                    node = OmegaConf.to_container(OmegaConf.load(find_conf() / group / f"{choice}.yaml"))
                    assert isinstance(node, dict)
                    brought = {str(key): value for key, value in node.items() if key != "defaults"}
                else:
                    brought = composed(f"{group}/{choice}")
                typed = (*QUICK, *(() if chosen in QUICK else (chosen,)), *NEEDED.get(chosen, ()))
                targets = {
                    name.rpartition(".")[0]: value for name, value in leaves(brought) if name.endswith("_target_")
                }
                keys += [
                    Key(typed, name, value, targets.get(name.rpartition(".")[0], "")) for name, value in leaves(brought)
                ]
    return list({(key.target, key.name): key for key in reversed(keys)}.values())


def misspellings(word: str) -> tuple[str, str]:
    """Two neighbouring letters exchanged, and one left out."""
    pairs = [i for i in range(len(word) - 1) if word[i] != word[i + 1] and "_" not in word[i : i + 2]]
    at = next((i for i in pairs if i), pairs[0])
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :], word[:at] + word[at + 1 :]


def respelt(name: str) -> Iterator[str]:
    parent, dot, last = name.rpartition(".")
    for word in misspellings(last):
        yield f"{parent}{dot}{word}"


GROUPS = all_choices()
KEYS = all_keys()


def each(cases: Iterator[Case]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return pytest.mark.parametrize("case", [pytest.param(case, id=str(case)) for case in cases])


# What is run, and what is held against it


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("pictures"), "cat", "dog")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def folder_of(root: Path, *classes: str, count: int = 6) -> Path:
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(root / name / f"{index}.png")
    return root


def files_in(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_size) for path in folder.rglob("*") if "__pycache__" not in path.parts)


def is_one_screen(text: str) -> None:
    lines = text.splitlines()
    assert len(lines) <= SCREEN, text
    assert [line for line in lines if len(line) > WIDTH and "/" not in line] == []
    assert "Traceback" not in text


def run(*typed: str) -> None:
    """What `train.py` does with these words, the first epoch apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytorch_lightning.Trainer, "fit", lambda *_, **__: pytest.fail("training began"))
        run_experiment(compose_config(list(typed)))


def sweep(*typed: str) -> None:
    """What `train.py -m` does with these words before any job begins."""
    plan(parse_overrides(list(typed)))


def refused(*typed: str, start: Callable[..., Any] = run) -> UserError:
    """The error that answers these words: one screen, a next step for each problem, and nothing left behind."""
    before = files_in(Path.cwd())
    with pytest.raises(UserError) as caught:
        start(*typed)
    is_one_screen(str(caught.value))
    assert all(problem.rule for problem in caught.value.problems)
    *_, last = caught.value.problems  # where one remedy serves all, it stands last
    assert last.remedy or "Did you mean" in last.rule
    assert files_in(Path.cwd()) == before
    return caught.value


def refused_before_torch(*typed: str) -> UserError:
    return refused(*typed, start=lambda *words: parse_overrides(list(words)))


def problem_of(error: UserError, key: str) -> Problem:
    (found,) = [problem for problem in error.problems if problem.key == key]
    return found


def value_refused(case: Case, pictures: Path) -> None:
    typed = [word.replace(PICTURES, str(pictures)) for word in case.typed]
    problem = problem_of(refused(*typed, start=sweep if case.key.startswith("sweep.") else run), case.key)
    assert problem.received
    assert str(problem) in str(UserError("", [problem]))


# The matrix


@pytest.mark.parametrize("chosen", [f"{group}={choice}" for group in GROUPS for choice in GROUPS[group]])
def test_every_choice_is_right_as_it_ships(chosen: str, place: Path) -> None:
    if chosen == "trainer=gpu" and not torch.cuda.is_available():
        pytest.skip("this machine has no GPU")
    check_config(compose_config([*QUICK, chosen, *NEEDED.get(chosen, ())]))


@pytest.mark.parametrize(
    ("typed", "received", "lr"), [("min_lr=0.01", "0.01", "0.001"), ("min_lr=0.5 optimizer.lr=0.2", "0.5", "0.2")]
)
def test_a_schedule_that_would_raise_the_learning_rate_is_refused(
    typed: str, received: str, lr: str, place: Path
) -> None:
    problem = problem_of(refused(*QUICK, "scheduler=cosine", *f"scheduler.{typed}".split()), "scheduler.min_lr")
    assert f"more than the learning rate, {lr}, which would rise to it" in problem.rule
    assert problem.received == received


@each(
    Case((*QUICK, f"{prefix}{group}={word}"), group, choice)
    for group in GROUPS
    for choice in GROUPS[group]
    for word in misspellings(choice)
    for prefix in ("", "+", "++")
)
def test_a_misspelt_choice_says_what_was_meant(case: Case, place: Path) -> None:
    problem = problem_of(refused_before_torch(*case.typed), case.key)
    assert f"Did you mean {case.meant}?" in problem.rule
    assert case.meant in problem.remedy


@each(
    Case((*QUICK, f"{group}={word}"), group)
    for group in GROUPS
    for word in ("", "5", "true", "[a]", "{a: 1}", "no_such_thing")
)
def test_what_is_no_choice_is_answered_with_the_choices(case: Case, place: Path) -> None:
    problem = problem_of(refused_before_torch(*case.typed), case.key)
    assert problem.received
    assert all(choice in problem.remedy for choice in GROUPS[case.key])


@each(
    Case((f"{prefix}{word}={GROUPS[group][0]}",), group, group)
    for group in GROUPS
    for word in misspellings(group)
    for prefix in ("", "+", "++")
)
def test_a_misspelt_group_says_what_was_meant(case: Case, place: Path) -> None:
    problem = problem_of(refused_before_torch(*case.typed), case.typed[-1])
    assert problem.rule == f"Did you mean {case.meant}?"


def test_a_group_that_is_taken_away_is_answered_with_the_choice_of_none(place: Path) -> None:
    problem = problem_of(refused_before_torch(*QUICK, "~phases"), "~phases")
    assert problem.remedy == "Use phases=none."
    assert not compose_config([*QUICK, "phases=none"]).phases


@each(Case((f"+{group}={choice}",), group) for group in GROUPS for choice in GROUPS[group])
def test_a_group_that_is_there_cannot_be_added(case: Case, place: Path) -> None:
    problem = problem_of(refused_before_torch(*case.typed), case.typed[-1])
    assert f"{case.key} already exists" in problem.rule
    assert case.typed[-1].removeprefix("+") in problem.remedy


@each(
    key.typed(f"{prefix}{word}=1", key.name) for key in KEYS for word in respelt(key.name) for prefix in ("", "+", "++")
)
def test_a_misspelt_key_says_what_was_meant(case: Case, place: Path) -> None:
    problem = problem_of(refused_before_torch(*case.typed), case.typed[-1])
    assert problem.rule == f"Did you mean {case.meant}?"


@each(key.typed(f"+{key.name}=1", key.name) for key in KEYS)
def test_a_key_that_is_there_cannot_be_added(case: Case, place: Path) -> None:
    problem = problem_of(refused_before_torch(*case.typed), case.typed[-1])
    assert f"{case.key} already exists" in problem.rule
    assert f"{case.key}=" in problem.remedy


@each(
    key.typed(f"{key.name}={value}")
    for key in KEYS
    for value in WRONG_TYPES[key.kind]
    if value != "null" or not (key.value is None or {key.name, key.last} & NULL_IS_LEGAL)
)
def test_a_value_of_a_wrong_type_is_refused(case: Case, place: Path, pictures: Path) -> None:
    value_refused(case, pictures)


@each(
    key.typed(f"{key.name}={value}")
    for key in KEYS
    for value in (
        *OUT_OF_RANGE[key.kind],
        *(table[key.last] for table in (TOO_SMALL, TOO_LARGE) if key.last in table),
    )
)
def test_a_value_out_of_range_is_refused(case: Case, place: Path, pictures: Path) -> None:
    value_refused(case, pictures)


@each(key.typed(f"{key.name}=") for key in KEYS)
def test_an_empty_value_is_refused(case: Case, place: Path, pictures: Path) -> None:
    value_refused(case, pictures)


# Classes


BROKEN = {
    "no_such_module.Net": "module no_such_module not found",
    "my_syntax.Net": "my_syntax.py, line 1",
    "my_import.Net": "No module named 'no_such_thing'",
    "my_nets.Missing": "my_nets has no Missing",
    "my_nets.Neat": "Did you mean Net?",
    "my_nets.Refusing": "the flux ran dry",
    "my_nets.Failing": "ZeroDivisionError",
    "my_nets.NotAModule": "not a torch.nn.Module",
    "my_nets.Mute": "does not say what it wants done to pictures",
    "my_nets.number": "neither a class nor a function",
    "my_nets.Wide": "returns (1, 11) for one image; expected (1, 10), one logit per class",
    "my_nets.Flat": "fails on an image of 1 x 32 x 32: RuntimeError",
}
NETS = """
from torch import nn
from viewfinder.data.preprocess import Preprocess

number = 5

class Net(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()

class Refusing(Net):
    def __init__(self, channels, classes):
        raise ValueError("the flux ran dry")

class Failing(Net):
    def __init__(self, channels, classes):
        1 / 0

class NotAModule:
    def __init__(self, channels, classes):
        pass

class Mute(Net):
    pass

class Wide(Net):
    extra = 1

    def __init__(self, channels, classes):
        super().__init__(channels, classes)
        self.preprocess = Preprocess(32)
        self.layers = nn.Sequential(nn.Flatten(), nn.LazyLinear(classes + self.extra))

    def forward(self, pictures):
        return self.layers(pictures)

class Flat(Wide):
    extra = 0

    def forward(self, pictures):
        return self.layers(pictures.view(7))
"""


@pytest.mark.parametrize(("target", "cause"), BROKEN.items(), ids=BROKEN)
def test_a_class_that_cannot_be_had_or_built_shows_its_own_cause(target: str, cause: str, place: Path) -> None:
    (place / "my_syntax.py").write_text("class Net(:")
    (place / "my_import.py").write_text("import no_such_thing")
    (place / "my_nets.py").write_text(NETS)
    (place / "conf" / "model").mkdir(parents=True)
    (place / "conf" / "model" / "mine.yaml").write_text(f"_target_: {target}")
    assert cause in " ".join(str(refused(*QUICK, "model=mine")).split())


def test_a_file_of_ones_own_that_is_no_yaml_is_named(place: Path) -> None:
    (place / "conf" / "model").mkdir(parents=True)
    (place / "conf" / "model" / "mine.yaml").write_text("width: [")
    assert "mine.yaml" in str(refused_before_torch("model=mine"))


def test_an_argument_that_no_class_takes_says_which_it_takes(place: Path) -> None:
    problem = problem_of(refused(*QUICK, "+optimizer.quickness=3"), "optimizer.quickness")
    assert "amsgrad" in problem.remedy


def test_all_that_is_wrong_with_a_configuration_is_said_at_once(place: Path) -> None:
    error = refused(*QUICK, "seed=-1", "model.dropout=2", "data.batch_size=0", "optimizer.lr=-1", "trainer.devices=x")
    keys = ["data.batch_size", "model.dropout", "optimizer.lr", "seed", "trainer.devices"]
    assert sorted(problem.key for problem in error.problems) == keys


# Pictures, places and the machine

FOLDER = ("data=image_folder", "model.image_size=8", "trainer=cpu")


def missing(root: Path) -> None:
    pass


def misspelt(root: Path) -> None:
    folder_of(root.with_name("pictuers"), "cat", "dog")


def a_file(root: Path) -> None:
    root.write_text("cat")


def empty(root: Path) -> None:
    root.mkdir()


def without_classes(root: Path) -> None:
    folder_of(root.parent, root.name)


def one_class(root: Path) -> None:
    folder_of(root, "cat")


def class_without_pictures(root: Path) -> None:
    folder_of(root, "cat", "dog")
    (root / "owl").mkdir()


def no_training_pictures(root: Path) -> None:
    folder_of(root / "test", "cat", "dog")


def two_folders_for_validation(root: Path) -> None:
    for split in ("train", "val", "validation"):
        folder_of(root / split, "cat", "dog")


def a_class_that_is_only_validated(root: Path) -> None:
    folder_of(root / "train", "cat", "dog")
    folder_of(root / "val", "cat", "dog", "dgo")


def a_truncated_picture(root: Path) -> None:
    folder_of(root, "cat", "dog")
    whole = (root / "cat" / "3.png").read_bytes()
    (root / "cat" / "3.png").write_bytes(whole[: len(whole) // 2])


def a_text_called_a_picture(root: Path) -> None:
    folder_of(root, "cat", "dog")
    (root / "dog" / "letter.jpg").write_text("Dear John")


def too_few_to_split(root: Path) -> None:
    folder_of(root, "cat", "dog", count=1)


PLACES = {
    missing: "does not exist",
    misspelt: "Did you mean pictuers?",
    a_file: "is a file, not a folder",
    empty: "is empty",
    without_classes: "Put each class's pictures in a folder of its own.",
    one_class: "one class",
    class_without_pictures: "owl",
    no_training_pictures: "no train/",
    two_folders_for_validation: "val/ and validation/",
    a_class_that_is_only_validated: "Did you mean dog?",
    a_truncated_picture: "cat/3.png",
    a_text_called_a_picture: "dog/letter.jpg",
    too_few_to_split: "val",
}


@pytest.mark.parametrize(("prepare", "said"), PLACES.items(), ids=[prepare.__name__ for prepare in PLACES])
def test_a_folder_that_cannot_serve_is_refused_with_what_is_wrong(
    prepare: Callable[[Path], None], said: str, place: Path
) -> None:
    prepare(place / "pictures")
    assert said in str(refused(*FOLDER, "data.root=pictures"))


def test_a_place_that_is_taken_is_refused(place: Path, pictures: Path) -> None:
    (place / "taken").mkdir()
    assert "something is there already" in str(refused(*FOLDER, f"data.root={pictures}", "run_dir=taken"))


def test_a_place_that_cannot_be_written_is_refused(place: Path, pictures: Path) -> None:
    (place / "file").write_text("")
    assert "run_dir" in str(refused(*FOLDER, f"data.root={pictures}", "output_dir=file"))


def test_a_gpu_where_there_is_none_is_refused(place: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    for typed in ("trainer=gpu", "trainer.accelerator=gpu"):
        assert "trainer=cpu" in str(refused("experiment=quickstart", typed))


def test_weights_that_are_no_weights_are_refused(place: Path, pictures: Path) -> None:
    (place / "weights.pth").write_text("no weights")
    typed = ("data=image_folder", f"data.root={pictures}", "model=resnet50", "trainer=cpu")
    assert "cannot be read as weights" in str(refused(*typed, "model.weights=weights.pth"))


# As a person types it


def typed_out(place: Path, *words: str) -> str:
    """What `python train.py` says of these words: code 2, no traceback, torch not imported, nothing left."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", ROOT / "train.py", *words],
        cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = done.stderr.splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    said = "\n".join(line for line in lines if not line.startswith("import time:"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert "hydra" in imported
    assert "torch" not in imported
    is_one_screen(said)
    assert files_in(place) == []
    return said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("modle=mlp",), "Did you mean model?"),
        (("model=mpl",), "Did you mean mlp?"),
        (("+optimizer.lrr=1",), "Did you mean optimizer.lr?"),
        (("-m", "optimizer.lrr=1,2"), "Did you mean optimizer.lr?"),
        (("-m", "model=mlp,simple_cn"), "Did you mean simple_cnn?"),
        (("optimizer.lr=(1",), "cannot be parsed"),
        (("loss=5",), "is a group of keys"),
        (("optimizer.lr", "=", "0.1"), "Write key=value without spaces"),
        (("-m", "seed=1,2", "run_dir=x"), "output_dir=PATH"),
        (("optimizer.betas={a: 1}",), "must be a list"),
    ],
)
def test_a_wrong_command_line_is_answered_before_torch_is_imported(
    words: tuple[str], said: str, tmp_path: Path
) -> None:
    assert said in typed_out(tmp_path, *words)
