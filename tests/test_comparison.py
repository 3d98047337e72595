"""What several runs come to: the best setting's lead and command."""

import json
import math
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Type
from scipy import stats

from viewfinder.overrides import compose_config
from viewfinder.report.paired import paired_difference, say_difference
from viewfinder.report.repeat import repeat_command
from viewfinder.run_folder import RunFolder

# The paired difference


@pytest.mark.parametrize("count", [2, 5, 20])
def test_the_interval_of_a_paired_difference_is_scipys(count: int) -> None:
    rng = np.random.default_rng(count)
    first, second = rng.random((2, count))
    found, theirs = paired_difference(first, second), stats.ttest_rel(first, second)
    interval = theirs.confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert found.mean == pytest.approx(np.mean(first - second))
    assert found.suffices == (theirs.pvalue < 0.05)


def test_as_many_seeds_are_asked_for_as_exclude_0_at_the_same_difference_and_spread() -> None:
    differences = np.array([-0.01, 0.02, 0.03, 0.0])
    found = paired_difference(differences, np.zeros(4))
    assert not found.suffices
    assert found.needed is not None

    def excludes(count: int) -> bool:
        deviation = differences.std(ddof=1) / math.sqrt(count)
        low, high = stats.t.interval(0.95, count - 1, loc=differences.mean(), scale=deviation)
        return low > 0 or high < 0

    assert [excludes(found.needed - 1), excludes(found.needed)] == [False, True]
    assert paired_difference(np.array([0.001, 0.0, 0.5, -0.5]), np.zeros(4)).needed is None


def seeds_of(**accuracies: list[float]) -> pd.DataFrame:
    """A row a setting and seed, from 1; test is as validation."""
    rows = [
        {"setting": setting, "seed": seed, "best_val": value, "best_test": value}
        for setting, values in accuracies.items()
        for seed, value in enumerate(values, 1)
    ]
    return pd.DataFrame(rows, columns=["setting", "seed", "best_val", "best_test"])


def test_what_is_said_of_two_settings() -> None:
    clear = say_difference(seeds_of(a=[0.5, 0.51, 0.52], b=[0.4, 0.42, 0.41]), "a", "b", 2)
    assert clear[0] == "Is a better than b? Over the 3 seeds both have, in percentage points and their 95% interval:"
    assert clear[1] == "  val   10.00 better (7.52 to 12.48): the seeds suffice"
    assert len(clear) == 3
    unclear = say_difference(seeds_of(a=[0.5, 0.6], b=[0.49, 0.4]), "a", "b", 3)
    assert unclear[1] == "  val   10.50 better (-110.21 to 131.21): open, about 9 seeds may tell"
    assert unclear[-1] == "  Chosen as the best of 3 settings: its lead on val is optimistic."
    assert max(map(len, [*clear[1:], *unclear[1:]])) <= 80


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ([0.5, 0.6], [0.5, 0.6], "no difference, the same for each seed"),
        ([0.7, 0.8], [0.6, 0.7], "10.00 better, the same for each seed: no spread to judge it by"),
        ([0.5, 0.6], [0.6, 0.5], "no difference (-127.06 to 127.06): more seeds would not tell"),
        ([0.5, 0.6, 0.5], [0.6, 0.4, 0.599], "open, more than 100 seeds may tell"),
    ],
)
def test_what_is_said_where_no_number_of_seeds_can_be_named(ours: list[float], theirs: list[float], said: str) -> None:
    assert say_difference(seeds_of(a=ours, b=theirs), "a", "b", 2)[1].endswith(said)


@pytest.mark.parametrize(("shift", "count"), [(1, "only seed 2"), (5, "no seed")])
def test_settings_that_share_no_two_seeds_are_said_to(shift: int, count: str) -> None:
    rows = seeds_of(a=[0.5, 0.6], b=[0.5, 0.6])
    rows.loc[rows["setting"] == "b", "seed"] += shift
    (said,) = say_difference(rows, "a", "b", 2)
    assert said == f"Is a better than b? They share {count}, and it takes two shared seeds or more to say."


# The command


def run_that_typed(folder: Path, *typed: str, command: str = "python train.py -m x=1") -> RunFolder:
    folder.mkdir(parents=True)
    run = RunFolder(folder)
    run.run.write_text(json.dumps({"status": "finished", "overrides": typed, "command": command}))
    return run


def test_the_command_repeats_what_was_typed_with_every_seed_and_nothing_of_how_jobs_are_made(tmp_path: Path) -> None:
    typed = [
        "experiment=quickstart", "hydra/launcher=joblib", "sweep.jobs=2", "hydra.launcher.n_jobs=2", "run_dir=x",
        "seed=2", "optimizer.lr=1e-3", "name='a b'", "+model.sweep=1",
    ]  # fmt: skip
    run = run_that_typed(tmp_path / "one", *typed)
    kept = "experiment=quickstart optimizer.lr=1e-3 'name='\"'\"'a b'\"'\"'' +model.sweep=1"
    assert repeat_command([run], [2]) == f"python train.py {kept} seed=2"
    assert repeat_command([run], [3, 1, 2]) == f"python train.py -m {kept} seed=1,2,3"
    installed = run_that_typed(tmp_path / "two", "model=mlp", command="viewfinder train -m model=mlp")
    assert repeat_command([installed], [42]) == "viewfinder train model=mlp"


def test_a_strangers_command_is_words_of_train_py_alone(tmp_path: Path) -> None:
    run = run_that_typed(tmp_path / "run", "a=1; rm -rf ~", "b=\x1b[31m", command="rm -rf ~")
    assert repeat_command([run], [1]) == r"python train.py 'a=1; rm -rf ~' 'b=\x1b[31m'"


def test_runs_that_do_not_say_what_was_typed_have_no_command(tmp_path: Path) -> None:
    assert repeat_command([run_that_typed(tmp_path / "run", command="python mine.py")], [1, 2]) is None
    plain = run_that_typed(tmp_path / "plain", command="python train.py")
    assert repeat_command([plain], [42]) == "python train.py"


def test_compare_ends_with_a_command_that_makes_the_best_settings_configurations(seeds: Path, viewfinder: Type) -> None:
    answer = viewfinder("compare", seeds)
    words = shlex.split(answer.out.splitlines()[-1])
    assert words[:3] == ["python", "train.py", "-m"]
    assert words[-1] == "seed=0,1,2"
    best = answer.out.splitlines()[1].split()[0].removeprefix("lr=")
    for seed in "012":
        kept = RunFolder(seeds / f"{best}_{seed}").read_config()
        again = compose_config([*words[3:-1], f"seed={seed}", f"run_dir={kept.run_dir}"])
        assert again == kept
    assert "Is lr=" in answer.out
    assert "Is lr=" not in viewfinder("compare", seeds, "--markdown").out
