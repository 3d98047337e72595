"""Invalid phases are reported with their key and a remedy before training begins."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Type, on_one_line, raises_user_error

from viewfinder.config.overrides import compose_config
from viewfinder.config.phases import validate_phases
from viewfinder.errors import UserError
from viewfinder.experiment.build import build_network
from viewfinder.experiment.check import check_config
from viewfinder.experiment.run import run_experiment
from viewfinder.runs.folder import RunFolder

TWO = ["phases=fine_tune", "phases.head.epochs=1", "trainer.max_epochs=3"]
SMALL = ["model=custom_cnn", "model.widths=[4,8]", "model.hidden=[16]"]
HALVED = "phases.fine_tune.layer_decay=0.5"
STILL = ["model.block_dropout=0", "model.dropout=0"]

Answer = dict[str, str]
MAY_BE = "must be all, head, the number of final blocks to train, or a list of module names"


def refused(folder: Path, words: list[str], tiny: list[str]) -> Answer:
    with pytest.raises(UserError) as caught:
        run_experiment(compose_config([*tiny, *words, f"run_dir={folder}"]))
    assert not folder.exists()
    return {problem.key: f"{problem.rule} {problem.remedy}" for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("words", "key", "said"),
    [
        (["phases.head.epochs=null"], "phases.head.epochs", "only the last phase may leave it out"),
        (["phases.head.epochs=3"], "trainer.max_epochs", "shorten the earlier phases: phases.head.epochs=1."),
        (["phases.fine_tune.epochs=5"], "phases.fine_tune.epochs", "Set trainer.max_epochs=6, or"),
        (["scheduler=cosine", "scheduler.min_lr=1e-3"], "scheduler.min_lr", "is above the learning rate, 0.0001,"),
        (
            ["scheduler=cosine", "scheduler.min_lr=8e-5", "phases.fine_tune.train=[features]", HALVED],
            "scheduler.min_lr",
            "is above the learning rate, 2.5e-05,",
        ),
        (["phases.head.epochs=-1"], "phases.head.epochs", "For example phases.head.epochs=3."),
        *(([f"phases.head.train={no}"], "phases.head.train", MAY_BE) for no in ("0", "[]", "true", "null", "[3]")),
        (["phases.head.train=[head,head]"], "phases.head.train", "names a part twice"),
        (["phases.head.lr=-1"], "phases.head.lr", "greater than 0"),
        (["phases.fine_tune.layer_decay=1.5"], "phases.fine_tune.layer_decay", "less than or equal to 1"),
        (["phases=none"], "phases.head.epochs=1", "Add phases=fine_tune"),
        (["+phases.third.train=all"], "+phases.third.train=all", "Define it in a file of your own"),
        (["+phases.head.rate=1"], "+phases.head.rate=1", "Keys of phases.head: train, epochs, lr, layer_decay."),
        (["phases.fine_tune.train=9"], "phases.fine_tune.train", "more than CustomCNN has: 3 blocks before its head"),
        (["phases.fine_tune.train=featuers"], "phases.fine_tune.train", "Did you mean features?"),
        (["phases.fine_tune.train=[head,features.0.1]"], "phases.fine_tune.train", "has no parameters"),
    ],
)  # fmt: skip
def test_a_phase_that_cannot_be_is_refused_with_what_to_type(
    words: list[str], key: str, said: str, tiny: list[str], tmp_path: Path
) -> None:
    found = refused(tmp_path / "run", [*SMALL, *TWO, *words], tiny)
    assert list(found) == [key]
    assert said in found[key]


def test_a_phase_of_ones_own_takes_what_its_file_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "phases").mkdir(parents=True)
    (tmp_path / "conf" / "phases" / "mine.yaml").write_text("rest: {train: all}")
    (tmp_path / "conf" / "phases" / "numbers.yaml").write_text("1: {train: all}")
    for typed in ("+phases.rest.lr=1e-4", "++phases.rest.lr=1e-4"):
        cfg = compose_config(["phases=mine", typed])
        assert cfg.phases == {"rest": {"train": "all", "lr": 1e-4}}
        check_config(cfg)
    with raises_user_error(r"Add it with \+phases.rest.lr=1e-4"):
        compose_config(["phases=mine", "phases.rest.lr=1e-4"])
    with raises_user_error('Quote it: "1"'):
        check_config(compose_config(["phases=numbers"]))


@pytest.mark.parametrize(
    ("name", "held", "shown"),
    [("colour", "red", '"red"'), ("w", None, "null"), ("w", [1], "[1]"), ("_target_", "x", None)],
)
def test_what_is_no_phase_is_named(name: str, held: Any, shown: str | None) -> None:
    (problem,) = validate_phases({"head": {"train": "head", "epochs": 1}, name: held})
    assert (problem.key, problem.received) == (f"phases.{name}", shown)


@pytest.mark.parametrize("key", ["_target_", "_partial_", "_args_", "train"])
def test_a_phase_is_no_class(key: str) -> None:
    phase = {"train": "all", key: {"_target_": "os.system", "train": 1}}
    (problem,) = validate_phases({"head": {"train": "head", "epochs": 1}, "rest": phase})
    assert (problem.key, problem.remedy) == (f"phases.rest.{key}", "Remove it.")


def test_a_trainer_of_ones_own_that_says_no_number_of_epochs_will_do_without_phases_alone(tiny: list[str]) -> None:
    for words in ([], TWO[:2]):
        cfg = compose_config([*tiny, *words])
        del cfg.trainer["max_epochs"]
        if words:
            with raises_user_error(r"trainer.max_epochs is required"):
                check_config(cfg)
        else:
            check_config(cfg)


def test_the_transfer_experiment_wants_weights_and_without_phases_trains_the_head_alone(
    tiny: list[str], tmp_path: Path
) -> None:
    words = [*tiny, *SMALL, "experiment=transfer"]
    assert "is required" in refused(tmp_path / "run", words, [])["model.weights"]
    donor = build_network(compose_config([*tiny, *SMALL]), 3, 3)
    torch.save(donor.state_dict(), tmp_path / "w.pth")
    cfg = compose_config([*words, f"model.weights={tmp_path / 'w.pth'}", "phases=none"])
    check_config(cfg)
    network = build_network(cfg, 3, 5)
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert trained == ["head.2.weight", "head.2.bias"]
    assert torch.equal(network.get_parameter("features.0.0.weight"), donor.get_parameter("features.0.0.weight"))


def test_a_network_that_does_not_say_what_its_head_is_is_named(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain.py").write_text(
        "from torch import nn\nfrom viewfinder.data.preprocess import Preprocess\n\n\nclass Plain(nn.Sequential):\n"
        "    def __init__(self, channels: int, classes: int, image_size: int = 8):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(channels * image_size**2, classes))\n"
        "        self.preprocess = Preprocess(image_size)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    cfg = compose_config([*tiny, *TWO])
    cfg.model = {"_target_": "plain.Plain"}
    with raises_user_error(r"network that names its head; Plain does not"):
        run_experiment(cfg)


def test_a_range_test_is_for_one_learning_rate(tiny: list[str], viewfinder: Type) -> None:
    answer = viewfinder("lr-range", *tiny, *TWO)
    assert answer.code == 2
    assert "phases=none" in answer.err


def test_a_report_of_phases_that_are_none_is_refused(finished: RunFolder, tmp_path: Path, viewfinder: Type) -> None:
    for name in ("config.yaml", "run.json", "data.json", "scores.json", "metrics.csv", "predictions.csv"):
        (tmp_path / name).write_bytes((finished.path / name).read_bytes())
    text = (tmp_path / "config.yaml").read_text()
    for phases in ("{a: {train: 3}, b: {epochs: x}}", "{a: 3}", "[head]", "head"):
        assert "phases: {}" in text
        (tmp_path / "config.yaml").write_text(text.replace("phases: {}", f"phases: {phases}"))
        answer = viewfinder("report", tmp_path)
        assert answer.code == 2
        assert "has invalid phases" in on_one_line(answer.err)
