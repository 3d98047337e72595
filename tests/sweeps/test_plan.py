"""Jobs that a sweep's command line stands for, and command lines that are no sweep."""

from pathlib import Path

import pytest
from conftest import on_one_line, raises_user_error
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from sweep_command import Sweep, sweep_command

from viewfinder.config.overrides import compose_config, parse_overrides
from viewfinder.sweeps.plan import plan_jobs


@pytest.fixture
def sweep(tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Sweep:
    return sweep_command(tiny, tmp_path, monkeypatch, capfd)


@pytest.mark.parametrize(
    "line",
    [
        ["seed=1,2", "optimizer.lr=1e-3,3e-3"],
        ["model=mlp,simple_cnn", "optimizer=adam,sgd", "seed=range(1,4)"],
        ["experiment=quickstart", "model.widths=[4],[4,8]", "+optimizer.amsgrad=true,false", "data.batch_size=8"],
        [
            "optimizer.lr=choice(1e-3,2e-3)",
            "~optimizer.fused",
            "seed=sort(3,1,2)",
            "name=a,b",
            "optimizer.lr=5e-3,6e-3",
        ],
        ["experiment=quickstart,simple_cnn", "trainer.max_epochs=1,2"],
        ["model=mlp", "seed=7"],
    ],
)
def test_a_line_stands_for_the_same_jobs_as_in_hydras_own_multirun(line: list[str]) -> None:
    parsed = parse_overrides(line)
    (expected,) = BasicSweeper.split_arguments(parsed, None)
    jobs = plan_jobs(parsed).jobs
    assert [job.overrides for job in jobs] == expected
    assert [job.config for job in jobs] == [compose_config(words) for words in expected]


@pytest.mark.parametrize(
    ("line", "params"),
    [
        (["experiment=mlp_against_cnn", "seed=7", "data=digits"], ["model=mlp,simple_cnn,custom_cnn"]),
        (["experiment=ablation_head_depth", "model.hidden=[4]"], ["seed=1,2,3"]),
        (["experiment=ablation_head_depth", "seed=1"], ["model.hidden=[],[512],[512,1024]"]),
    ],
)
def test_an_experiment_that_is_a_sweep_stands_for_the_same_jobs_as_in_hydras_own_multirun(
    line: list[str], params: list[str]
) -> None:
    (expected,) = BasicSweeper.split_arguments(parse_overrides([*params, *line]), None)
    plan = plan_jobs(parse_overrides(line))
    assert [job.overrides for job in plan.jobs] == expected
    assert [job.config for job in plan.jobs] == [compose_config(words) for words in expected]
    assert plan.settings.name == line[0].removeprefix("experiment=")


def test_an_experiment_that_is_a_sweep_is_no_single_run_and_no_part_of_another_sweep() -> None:
    with raises_user_error("experiment = ablation_pooling is a sweep over model.pooling, seed .*-m.*model.pooling"):
        compose_config(["experiment=ablation_pooling", "seed=1"])
    assert compose_config(["experiment=ablation_pooling", "model.pooling=average"]).model.pooling == "average"
    with raises_user_error("cannot have several values, because ablation_pooling is itself a sweep"):
        plan_jobs(parse_overrides(["experiment=quickstart,ablation_pooling"]))


def test_a_glob_takes_all_matching_choices_and_duplicate_jobs_run_once() -> None:
    plan = plan_jobs(parse_overrides(["optimizer=glob(ad*)", "seed=1,2,1"]))
    names = [job.config["optimizer"]["_target_"] for job in plan.jobs]
    assert names == ["torch.optim.Adam"] * 2 + ["torch.optim.AdamW"] * 2
    assert plan.duplicates == 2


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("seed=range(0,100000)", "100,000 jobs"),
        ("seed=range(5,5)", "no values"),
        ("model=glob(x*)", "no values"),
        ("optimizer.lr=interval(1e-4,1e-1)", "viewfinder search"),
        ("run_dir=here", "output_dir=PATH"),
        ("sweep.name=a,b", "one value"),
        ("sweep.name=../a", "below output_dir"),
        ("output_dir=a,b", "one value"),
        ("sweep.max_failures=0", "sweep.max_failures"),
        ("sweep.rerun=perhaps", "true or false"),
        ("hydra.launcher.n_jobs=2", "hydra/launcher=joblib"),
        ("hydra/launcher=nosuch", "Choices: basic, joblib,"),
        ("hydra.launcher.partition=gpu", "belongs to another launcher"),
        ("optimizer.lrr=1,2", "Did you mean optimizer.lr?"),
        ("optimizer.lr=choice()", "cannot be parsed"),
        ("trainer.devices=2", "a single process"),
        ("sweep.wait=1", "true or false"),
    ],
)
def test_an_unsupported_line_is_refused_before_any_file_is_created(
    word: str, message: str, sweep: Sweep, tmp_path: Path
) -> None:
    answer = sweep("seed=1,2", word)
    assert answer.code == 2
    assert message in on_one_line(answer.err)
    assert answer.out == ""
    assert list(tmp_path.iterdir()) == []
