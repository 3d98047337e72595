"""What several runs come to: the best setting's lead and command, the charts, and a sweep's page."""

import json
import math
import shlex
import shutil
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Page, Type
from matplotlib.patches import Rectangle
from scipy import stats

from viewfinder.config.overrides import compose_config
from viewfinder.evaluation.comparison import Comparison, read_runs, summarise_settings
from viewfinder.evaluation.paired import compute_difference, describe_difference
from viewfinder.evaluation.repeat import format_repeat_command
from viewfinder.evaluation.settings import describe_settings, find_differences
from viewfinder.reporting.charts.epochs import COLOURS, OTHERS, draw_epochs
from viewfinder.reporting.charts.heat_map import build_grid
from viewfinder.reporting.charts.lines import average_by_value
from viewfinder.reporting.charts.sweep import draw_sweep
from viewfinder.reporting.pages.sweep import write_sweep_report
from viewfinder.runs.find import find_runs
from viewfinder.runs.folder import RunFolder
from viewfinder.sweeps.folder import SweepFolder, SweepJob

# The paired difference


@pytest.mark.parametrize("count", [2, 5, 20])
def test_the_interval_of_a_paired_difference_is_scipys(count: int) -> None:
    rng = np.random.default_rng(count)
    first, second = rng.random((2, count))
    found, theirs = compute_difference(first, second), stats.ttest_rel(first, second)
    interval = theirs.confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert found.mean == pytest.approx(np.mean(first - second))
    assert found.is_conclusive == (theirs.pvalue < 0.05)


def test_as_many_seeds_are_asked_for_as_exclude_0_at_the_same_difference_and_spread() -> None:
    differences = np.array([-0.01, 0.02, 0.03, 0.0])
    found = compute_difference(differences, np.zeros(4))
    assert not found.is_conclusive
    assert found.seeds_needed is not None

    def excludes(count: int) -> bool:
        deviation = differences.std(ddof=1) / math.sqrt(count)
        low, high = stats.t.interval(0.95, count - 1, loc=differences.mean(), scale=deviation)
        return low > 0 or high < 0

    assert [excludes(found.seeds_needed - 1), excludes(found.seeds_needed)] == [False, True]
    assert compute_difference(np.array([0.001, 0.0, 0.5, -0.5]), np.zeros(4)).seeds_needed is None


def seeds_of(**accuracies: list[float]) -> pd.DataFrame:
    """A row a setting and seed, from 1; test is as validation."""
    rows = [
        {"setting": setting, "seed": seed, "best_val": value, "best_test": value}
        for setting, values in accuracies.items()
        for seed, value in enumerate(values, 1)
    ]
    return pd.DataFrame(rows, columns=["setting", "seed", "best_val", "best_test"])


def test_what_is_said_of_two_settings() -> None:
    clear = describe_difference(seeds_of(a=[0.5, 0.51, 0.52], b=[0.4, 0.42, 0.41]), "a", "b", 2)
    assert clear[0] == "Is a better than b? Mean over 3 shared seeds, in percentage points, with its 95% interval:"
    assert clear[1] == "  val   10.00 better (7.52 to 12.48): the seeds suffice"
    assert len(clear) == 3
    unclear = describe_difference(seeds_of(a=[0.5, 0.6], b=[0.49, 0.4]), "a", "b", 3)
    assert unclear[1] == "  val   10.50 better (-100.00 to 100.00): undecided, 2 seeds are too few"
    assert unclear[-1] == "  Chosen as the best of 3 settings: its lead on val is optimistic."
    assert max(map(len, [*clear[1:], *unclear[1:]])) <= 80


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ([0.5, 0.6], [0.5, 0.6], "no difference, the same for each seed"),
        ([0.7, 0.8], [0.6, 0.7], "10.00 better, the same for each seed: no spread to judge it by"),
        ([0.5, 0.6], [0.6, 0.5], "no difference (-100.00 to 100.00): undecided, 2 seeds are too few"),
        ([0.5, 0.6, 0.5], [0.6, 0.4, 0.599], "undecided, more than 100 seeds may decide"),
    ],
)
def test_what_is_said_where_no_number_of_seeds_can_be_named(ours: list[float], theirs: list[float], said: str) -> None:
    assert describe_difference(seeds_of(a=ours, b=theirs), "a", "b", 2)[1].endswith(said)


@pytest.mark.parametrize(("shift", "count"), [(1, "only seed 2"), (5, "no seed")])
def test_settings_that_share_no_two_seeds_are_said_to(shift: int, count: str) -> None:
    rows = seeds_of(a=[0.5, 0.6], b=[0.5, 0.6])
    rows.loc[rows["setting"] == "b", "seed"] += shift
    (said,) = describe_difference(rows, "a", "b", 2)
    assert said == f"Is a better than b? They share {count}; a comparison needs at least two shared seeds."


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
    assert format_repeat_command([run], [2]) == f"python train.py {kept} seed=2"
    assert format_repeat_command([run], [3, 1, 2]) == f"python train.py -m {kept} seed=1,2,3"
    installed = run_that_typed(tmp_path / "two", "model=mlp", command="viewfinder train -m model=mlp")
    assert format_repeat_command([installed], [42]) == "viewfinder train model=mlp"


def test_the_command_has_what_was_changed_when_the_run_went_on_and_matters(tmp_path: Path) -> None:
    run = run_that_typed(tmp_path / "run", "+trainer.max_epochs=4", "data=image_folder", "seed=2")
    later = [["trainer.max_epochs=6", "data.root=/a b"], ["data.workers=2", "allow=tiny"], ["trainer.max_epochs=8"]]
    run.update_run(resumed=[{"time": "", "epochs": 4, "batches": 0, "overrides": each} for each in later])
    kept = "+trainer.max_epochs=8 data=image_folder 'data.root=/a b'"
    assert format_repeat_command([run], [1, 2]) == f"python train.py -m {kept} seed=1,2"


def test_a_strangers_command_is_words_of_train_py_alone(tmp_path: Path) -> None:
    run = run_that_typed(tmp_path / "run", "a=1; rm -rf ~", "b=\x1b[31m", command="rm -rf ~")
    assert format_repeat_command([run], [1]) == r"python train.py 'a=1; rm -rf ~' 'b=\x1b[31m'"


def test_runs_that_do_not_say_what_was_typed_have_no_command(tmp_path: Path) -> None:
    assert format_repeat_command([run_that_typed(tmp_path / "run", command="python mine.py")], [1, 2]) is None
    plain = run_that_typed(tmp_path / "plain", command="python train.py")
    assert format_repeat_command([plain], [42]) == "python train.py"


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


# Charts


def compared(settings: list[dict[str, Any]], seeds: int = 2) -> tuple[Comparison, pd.DataFrame]:
    """Runs of these settings with made-up scores."""
    configs = [{"model._target_": "a.Net", **each} for each in settings for _ in range(seeds)]
    scores = np.random.default_rng(0).random((len(configs), 5))
    table = pd.DataFrame(scores, columns=["best_val", "best_test", "best_f1", "last_val", "last_test"])
    table.insert(0, "setting", describe_settings(configs))
    table["seed"], table["best_epoch"] = [*range(seeds)] * len(settings), 1
    return (found := Comparison(table, find_differences(configs), [])), summarise_settings(found.table)


def test_scores_by_value_are_numpys_mean_and_deviation_in_numeric_order() -> None:
    values, scores = (
        np.array([10.0, 2.0, 10.0, 2.0]),
        pd.DataFrame({"best_val": [1.0, 2.0, 5.0, 8.0]}, index=[7, 3, 1, 0]),
    )
    found = average_by_value(values, scores)
    assert list(found["value"]) == [2, 10]
    assert list(found["best_val_mean"]) == [5, 3]
    np.testing.assert_allclose(found["best_val_std"], [np.std([2, 8], ddof=1), np.std([1, 5], ddof=1)])


@pytest.mark.parametrize(
    ("values", "scale"),
    [([1e-4, 1e-3, 1e-2], "log"), ([16, 32, 64], "linear"), ([0.0, 1e-4, 1.0], "linear"), ([-1, 1, 1000], "linear")],
)
def test_a_swept_number_is_drawn_along_an_axis_that_suits_it(values: list[float], scale: str) -> None:
    (axes,) = draw_sweep(*compared([{"optimizer.lr": value} for value in values])).axes
    assert axes.get_xscale() == scale
    assert axes.get_xlabel() == "optimizer.lr"
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"validation", "test"}


def test_two_swept_settings_are_a_heat_map_in_numeric_order_with_blanks_and_the_best_framed() -> None:
    pairs = [(batch, rate) for batch in (128, 16) for rate in (1e-2, 1e-4, 1e-3)][:-1]
    found, summary = compared([{"data.batch_size": batch, "optimizer.lr": rate} for batch, rate in pairs])
    axes = draw_sweep(found, summary).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["16", "128"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.0001", "0.001", "0.01"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("data.batch_size", "optimizer.lr")
    means = 100 * found.table.groupby("setting", sort=False)["best_val"].mean().to_numpy()
    order = {(128, 1e-2): (2, 1), (128, 1e-4): (0, 1), (128, 1e-3): (1, 1), (16, 1e-2): (2, 0), (16, 1e-4): (0, 0)}
    expected = {order[pair]: f"{mean:.2f}" for pair, mean in zip(pairs, means, strict=True)}
    assert {text.get_position(): text.get_text() for text in axes.texts} == expected
    (frame,) = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert (frame.get_x() + 0.5, frame.get_y() + 0.5) == order[pairs[int(means.argmax())]]


def test_a_heat_maps_cells_are_means_over_seeds() -> None:
    grid = build_grid([[8], None, [8]], [10, 9, 10], [0.2, 0.5, 0.4], ("model.widths", "data.limit"))
    assert (list(grid.index), list(grid.columns)) == (["[8]", "null"], ["9", "10"])
    np.testing.assert_allclose(grid.to_numpy(), [[np.nan, 0.3], [0.5, np.nan]])


AT_RANDOM = [{"optimizer.lr": 0.1 + i / 100, "optimizer.weight_decay": i / 7} for i in range(8)]


@pytest.mark.parametrize(
    "settings",
    [
        [{"model.widths": widths} for widths in ([8], None, [16, 8])],
        [{"model._target_": "a.$A_b$"}, *({"model._target_": "a.B", "model.width": width} for width in (1, 2))],
        [{"a": i, "b": j, "c": k} for i in (1, 2) for j in (1, 2) for k in range(10)],
        AT_RANDOM,
        [{"optimizer.lr": rate} for rate in (math.nan, 10**400)],
        [{}],
    ],
)
def test_settings_of_any_other_kind_are_points_the_best_first(settings: list[dict[str, Any]]) -> None:
    found, summary = compared(settings)
    (axes,) = draw_sweep(found, summary).axes
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == [name if len(name) <= 48 else f"{name[:47]}…" for name in summary["setting"][:30]]
    assert axes.yaxis_inverted()
    assert axes.get_title(loc="left") == ("the best 30 of 40 settings" if len(summary) == 40 else "")


def test_the_ten_best_settings_have_colours_by_epoch_and_the_others_are_grey() -> None:
    rows = pd.DataFrame({"epoch": [1, 2], "val/accuracy": [0.25, 0.5]})
    axes = draw_epochs({f"_{place}": [rows, rows] for place in range(13)}).axes[0]
    assert [line.get_color() for line in axes.lines] == [
        colour for colour in (*COLOURS, *[OTHERS] * 3) for _ in range(2)
    ]
    assert list(axes.lines[0].get_ydata()) == [25, 50]
    said = [text.get_text() for text in axes.get_legend().get_texts()]
    assert said == [*(f"_{place}" for place in range(10)), "3 others"]


# A sweep's page


@pytest.fixture
def sweep(seeds: Path, tmp_path: Path) -> Path:
    """Six jobs that have finished and one that failed, in a folder whose name needs quoting."""
    folder = tmp_path / "a sweep #1"
    for number, run in enumerate(find_runs(seeds)):
        shutil.copytree(run.path, folder / str(number))
    failed = Path(shutil.copytree(folder / "0", folder / "6"))
    (failed / "scores.json").unlink()
    RunFolder(failed).update_run(status="failed", error="<script>alert(1)</script>")
    write_jobs(folder, *map(str, range(8)))
    return folder


def write_jobs(folder: Path, *names: str) -> None:
    SweepFolder(folder, folder.name, jobs=[SweepJob(name, [], {}) for name in names]).write()


def test_report_writes_the_page_of_a_sweep_beside_those_of_its_jobs(sweep: Path, viewfinder: Type) -> None:
    for number in range(6):
        (sweep / str(number) / "report.html").unlink()
    answer = viewfinder("report", sweep)
    assert (answer.code, answer.err) == (0, "")
    assert [line for line in answer.out.splitlines() if not line.startswith("left out")] == [
        str(path / "report.html") for path in (*(sweep / str(number) for number in range(6)), sweep)
    ]
    html = (sweep / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    said = " ".join(" ".join(page.text).split())
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in said
    assert "7 not started" in said
    links = [each for each in page.fetched if not each.startswith("data:image/png;base64,")]
    assert links == [f"{number}/report.html" for number in range(6)]
    assert len(page.fetched) == len(links) + 2
    assert (sweep / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert (sweep / "epochs.png").read_bytes().startswith(b"\x89PNG")


def test_a_sweeps_page_says_what_compare_says(sweep: Path, viewfinder: Type) -> None:
    page = Page(write_sweep_report(sweep, find_runs(sweep)).read_text(encoding="utf-8"))
    said = " ".join(" ".join(page.text).split())
    table, _, lead = viewfinder("compare", sweep).out.partition("Accuracy and macro")
    for line in table.splitlines()[1:]:
        for cell in line.split("  "):
            assert cell.strip() in said
    command = lead.splitlines()[-1].strip()
    assert command.startswith("python train.py -m")
    assert command in said
    for line in lead.partition("Is lr=")[2].splitlines()[1:3]:
        assert " ".join(line.split()) in said


def test_a_job_whose_name_is_odd_is_linked_to_all_the_same(seeds: Path, tmp_path: Path) -> None:
    name = 'java:s "1"#?%.x'
    shutil.copytree(seeds / "0.01_0", tmp_path / name)
    page = Page(write_sweep_report(tmp_path, find_runs(tmp_path)).read_text(encoding="utf-8"))
    (link,) = [each for each in page.fetched if not each.startswith("data:")]
    assert urllib.parse.urlsplit(link)[0:2] == ("", "")
    assert (tmp_path / urllib.parse.unquote(urllib.parse.urlsplit(link).path)).is_file()


def test_a_sweep_of_which_no_run_has_finished_says_so_with_the_reasons(tmp_path: Path, viewfinder: Type) -> None:
    (tmp_path / "sweep.png").write_bytes(b"of an earlier time")
    page = write_sweep_report(tmp_path, [], [("0", "optimizer.lr = x: must be a number")], "python train.py -m x=1,2")
    said = " ".join(Page(page.read_text(encoding="utf-8")).text)
    for word in ("No run has finished", "optimizer.lr = x: must be a number", "python train.py -m x=1,2"):
        assert word in said
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    write_jobs(tmp_path, "0")
    answer = viewfinder("report", tmp_path)
    assert (answer.code, answer.out) == (2, f"{page}\n")


@pytest.mark.parametrize("name", ["..", "../elsewhere", "/tmp", "a/b", "", ".x", "a\\b"])
def test_a_sweep_may_name_only_folders_directly_below_it(
    seeds: Path, tmp_path: Path, viewfinder: Type, name: str
) -> None:
    shutil.copytree(seeds / "0.01_0", tmp_path / "0")
    write_jobs(tmp_path, "0", name)
    answer = viewfinder("report", tmp_path)
    assert answer.code == 2
    assert "sweep.json" in answer.err
    assert "Traceback" not in answer.err
    assert not (tmp_path / "report.html").exists()


def test_a_table_of_no_runs_has_the_columns_of_one_with_some(seeds: Path) -> None:
    assert list(read_runs([]).table.columns) == list(read_runs(find_runs(seeds)).table.columns)


def test_settings_are_told_apart_by_more_than_the_last_word_of_a_class_or_how_a_value_looks() -> None:
    nets = describe_settings(
        [{"model._target_": "one.Net"}, {"model._target_": "two.Net"}, {"model._target_": "two.Other"}]
    )
    assert nets == ["one.Net", "two.Net", "Other"]
    values = describe_settings([{"a": value} for value in (1, "1", True, "true", None, "x", "[1]", [1])])
    assert len(set(values)) == 8
    assert values[5] == "a=x"


def test_runs_that_differ_in_precision_or_code_are_said_to(seeds: Path, tmp_path: Path, viewfinder: Type) -> None:
    for name in ("0.01_0", "0.01_1", "0.01_2"):
        shutil.copytree(seeds / name, tmp_path / name)
    assert "different" not in viewfinder("compare", tmp_path).out
    RunFolder(tmp_path / "0.01_1").update_run(precision="bf16-mixed", code={"viewfinder": "another"})
    said = viewfinder("compare", tmp_path).out
    assert "different precisions (2 in 32-true, 1 in bf16-mixed)" in said
    assert "Made with different code of viewfinder." in said
