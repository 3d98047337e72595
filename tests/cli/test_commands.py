"""evaluate, predict, compare and report as a person types them; --help; and what a wheel carries."""

import importlib.util
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import torch
from conftest import CLASSES, ROOT, SIZES, Page, Train, Type, paint
from PIL import Image
from torch import nn

from viewfinder.config.overrides import compose_config
from viewfinder.data.preprocess import Preprocess
from viewfinder.experiment.run import run_experiment
from viewfinder.models.simple_cnn import SimpleCNN
from viewfinder.reporting.tables import print_comparison
from viewfinder.runs.folder import RunFolder

COLUMNS = [f"p_{name}" for name in CLASSES]

# evaluate


@pytest.mark.parametrize("which", ["best", "last"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluate_says_exactly_what_scores_json_says(
    finished: RunFolder, viewfinder: Type, tmp_path: Path, which: str, split: str
) -> None:
    said = tmp_path / "said.json"
    answer = viewfinder("evaluate", finished.path, "--split", split, "--weights", which, "--json", said)
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(said.read_text(encoding="utf-8")) == finished.read_scores()[which][split]
    assert "Equal to scores.json." in answer.out


def test_evaluate_scores_the_test_split_with_the_best_weights_unless_told_otherwise(
    finished: RunFolder, viewfinder: Type, tmp_path: Path
) -> None:
    viewfinder("evaluate", finished.path, "--json", tmp_path / "said.json", "--csv", tmp_path / "said.csv")
    said = json.loads((tmp_path / "said.json").read_text(encoding="utf-8"))
    assert said == finished.read_scores()["best"]["test"]
    assert (tmp_path / "said.csv").read_bytes() == finished.predictions.read_bytes()


def test_evaluate_scores_the_training_pictures_without_augmenting_them(
    finished: RunFolder, viewfinder: Type, tmp_path: Path
) -> None:
    said = [tmp_path / "said.json", tmp_path / "said.csv"]
    answer = viewfinder("evaluate", finished.path, "--split", "train", "--json", said[0], "--csv", said[1])
    assert answer.code == 0
    scores, rows = json.loads(said[0].read_text(encoding="utf-8")), pd.read_csv(said[1])
    assert scores["pictures"] == len(rows) == SIZES["train"] * len(CLASSES)
    assert scores["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(rows["true"], rows["predicted"]))


def test_evaluate_needs_nothing_but_a_copy_of_the_run_folder_and_the_pictures(
    train: Train, pictures: Path, viewfinder: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(pictures, "pictures here")
    original = train(Path("here/run"), "data.root=pictures here", "trainer.max_epochs=1")
    scores = original.read_scores()
    shutil.copytree(original.path, "somewhere else/copy")
    Path("pictures here").rename("pictures there")
    shutil.rmtree("here")
    monkeypatch.chdir("somewhere else")
    answer = viewfinder("evaluate", "copy", f"data.root={tmp_path / 'pictures there'}", "--json", "said.json")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(Path("said.json").read_text(encoding="utf-8")) == scores["best"]["test"]
    assert "Equal to scores.json." in answer.out


def test_evaluate_of_a_run_whose_pictures_were_streamed_says_the_same(
    train: Train, viewfinder: Type, tmp_path: Path
) -> None:
    run = train(tmp_path / "run", "data.storage=stream", "data.workers=1", "trainer.max_epochs=1")
    answer = viewfinder("evaluate", run.path)
    assert (answer.code, answer.err) == (0, "")
    assert "Equal to scores.json." in answer.out


def test_evaluate_says_when_the_pictures_are_other_ones(finished: RunFolder, viewfinder: Type, tmp_path: Path) -> None:
    others, said = paint(tmp_path / "others", seed=9), tmp_path / "said.csv"
    answer = viewfinder("evaluate", finished.path, f"data.root={others}", "--csv", said)
    assert answer.code == 0
    assert "other pictures" in answer.out
    assert "Equal" not in answer.out
    assert len(pd.read_csv(said)) == len(list(others.glob("test/*/*")))


def test_evaluate_refuses_an_override_that_fits_nothing_with_what_was_meant(
    finished: RunFolder, viewfinder: Type
) -> None:
    answer = viewfinder("evaluate", finished.path, "data.rot=elsewhere", "nonsense")
    assert (answer.code, answer.out) == (2, "")
    assert "Did you mean root?" in answer.err or "Did you mean data.root?" in answer.err
    assert "nonsense" in answer.err


def test_evaluate_refuses_pictures_of_other_classes(finished: RunFolder, viewfinder: Type, tmp_path: Path) -> None:
    others = paint(tmp_path / "others", seed=9)
    for split in SIZES:
        (others / split / "owl").rename(others / split / "eagle")
    answer = viewfinder("evaluate", finished.path, f"data.root={others}")
    assert (answer.code, answer.out) == (2, "")
    assert "eagle" in answer.err
    assert "owl" in answer.err


def test_a_run_that_needs_its_working_folder_says_where_that_was(
    train: Train, pictures: Path, viewfinder: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(pictures, "here")
    run = train(Path("run"), "data.root=here", "trainer.max_epochs=1")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    answer = viewfinder("evaluate", tmp_path / run.path)
    assert answer.code == 2
    assert f"was started in {tmp_path}" in " ".join(answer.err.split())


class Lazy(nn.Sequential):
    """Whose last layer learns from the first picture how many values it takes."""

    def __init__(self, channels: int, classes: int):
        super().__init__(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(classes))
        self.preprocess = Preprocess(image_size=8)


def test_a_run_of_a_network_with_lazy_layers_is_evaluated_and_goes_on(
    tiny: list[str], tmp_path: Path, viewfinder: Type
) -> None:
    cfg = compose_config([*tiny, "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}"])
    cfg.model = {"_target_": "test_commands.Lazy"}
    run_experiment(cfg)
    answer = viewfinder("evaluate", tmp_path / "run", "allow=test_commands")
    assert answer.code == 0, answer.err
    assert "Equal to scores.json." in answer.out
    assert viewfinder("resume", tmp_path / "run", "trainer.max_epochs=2", "allow=test_commands").code == 0


# predict


def album(folder: Path) -> dict[str, np.ndarray]:
    """Pictures of many modes and sizes: name -> what a person sees, (H, W, 3) uint8."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    grey, colour = rng.integers(0, 256, (11, 9), dtype=np.uint8), rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    alpha = rng.integers(0, 256, (20, 30, 1), dtype=np.uint8)
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(colour).save(folder / "colour.png")
    Image.fromarray(np.concatenate([colour, alpha], axis=2)).save(folder / "clear.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "sixteen.png")
    palette = Image.fromarray(colour).quantize(16)
    palette.save(folder / "palette.png")
    Image.fromarray(colour).convert("CMYK").save(folder / "ink.jpg")
    with Image.open(folder / "ink.jpg") as ink:
        inked = np.asarray(ink.convert("RGB"))
    over_white = np.round((colour * (alpha / 255)) + 255 * (1 - alpha / 255)).astype(np.uint8)
    threefold = np.repeat(grey[:, :, None], 3, axis=2)
    return {
        "clear.png": over_white, "colour.png": colour, "grey.png": threefold, "ink.jpg": inked,
        "palette.png": np.asarray(palette.convert("RGB")), "sixteen.png": threefold,
    }  # fmt: skip


def forward(run: RunFolder, seen: np.ndarray) -> np.ndarray:
    """Probabilities (K,) of one picture (H, W, 3) by the best weights in a network made here."""
    state = torch.load(run.best, weights_only=True)["state_dict"]
    network = SimpleCNN(3, len(CLASSES), image_size=8)
    network.load_state_dict({name.removeprefix("network."): value for name, value in state.items()})
    small = np.asarray(Image.fromarray(seen).resize((8, 8), Image.Resampling.BILINEAR)).transpose(2, 0, 1) / 255
    with torch.no_grad():
        return network.eval()(torch.from_numpy(small[None]).float()).double().softmax(1)[0].numpy()


def test_predict_gives_each_picture_of_a_folder_the_probabilities_of_a_forward_pass(
    finished: RunFolder, viewfinder: Type, tmp_path: Path
) -> None:
    seen = album(tmp_path / "album")
    answer = viewfinder("predict", finished.path, tmp_path / "album", "--csv", tmp_path / "said.csv")
    assert (answer.code, answer.err) == (0, "")
    rows = pd.read_csv(tmp_path / "said.csv")
    assert list(rows.columns) == ["picture", "predicted", *COLUMNS]
    assert [Path(name).name for name in rows["picture"]] == list(seen)
    for row in rows.to_dict("records"):
        name = Path(row["picture"]).name
        expected = forward(finished, seen[name])
        # Of a half clear picture, Pillow and NumPy may round a level to either side.
        within = 2e-3 if name == "clear.png" else 1e-6
        np.testing.assert_allclose([row[column] for column in COLUMNS], expected, atol=within, rtol=0)
        assert row["predicted"] == CLASSES[int(np.argmax([row[column] for column in COLUMNS]))]


@pytest.mark.parametrize("top", [1, 2, 3])
def test_predict_names_the_likeliest_classes_in_order(
    finished: RunFolder, viewfinder: Type, tmp_path: Path, top: int
) -> None:
    seen = album(tmp_path / "album")
    paths = [tmp_path / "album" / name for name in ("grey.png", "colour.png")]
    answer = viewfinder("predict", finished.path, *paths, "--top", str(top))
    _, *lines = [line for line in answer.out.splitlines() if line.strip()]
    assert len(lines) == 2
    for line, path in zip(lines, paths, strict=True):
        chances = forward(finished, seen[path.name])
        likeliest = np.argsort(-chances)[:top]
        expected = [str(path), *(f"{CLASSES[index]} {chances[index]:.1%}" for index in likeliest)]
        assert [cell.strip() for cell in line.split("  ") if cell.strip()] == expected


def test_predict_takes_files_and_folders_together_and_each_picture_once(
    finished: RunFolder, viewfinder: Type, tmp_path: Path
) -> None:
    album(tmp_path / "album")
    words = [tmp_path / "album" / "ink.jpg", tmp_path / "album"]
    viewfinder("predict", finished.path, *words, "--csv", tmp_path / "said.csv")
    names = [Path(name).name for name in pd.read_csv(tmp_path / "said.csv")["picture"]]
    assert names == ["ink.jpg", "clear.png", "colour.png", "grey.png", "palette.png", "sixteen.png"]


def test_predict_names_a_picture_that_cannot_be_read_and_answers_for_the_others(
    finished: RunFolder, viewfinder: Type, tmp_path: Path
) -> None:
    seen = album(tmp_path / "album")
    (tmp_path / "album" / "broken.png").write_bytes((tmp_path / "album" / "colour.png").read_bytes()[:60])
    (tmp_path / "album" / "letter.jpg").write_text("Dear John")
    answer = viewfinder("predict", finished.path, tmp_path / "album", "--csv", tmp_path / "said.csv")
    assert answer.code == 2
    assert "broken.png" in answer.err
    assert "letter.jpg" in answer.err
    assert "Traceback" not in answer.err
    assert len(pd.read_csv(tmp_path / "said.csv")) == len(seen)
    assert "grey.png" in answer.out


# compare


def scores_below(folder: Path) -> pd.DataFrame:
    """A row a run: learning rate, seed and accuracies, from the JSON files alone."""
    rows = []
    for path in sorted(folder.glob("*/scores.json")):
        best, last = (json.loads(path.read_text(encoding="utf-8"))[which] for which in ("best", "last"))
        rate, seed = path.parent.name.split("_")
        rows.append({
            "rate": float(rate), "seed": int(seed), "epoch": best["epoch"], "val": best["val"]["accuracy"],
            "test": best["test"]["accuracy"], "f1": best["test"]["f1"], "last": last["test"]["accuracy"],
        })  # fmt: skip
    return pd.DataFrame(rows)


def percent(mean: float, deviation: float) -> str:
    return f"{100 * mean:.2f} ±{100 * deviation:.2f}"


def cells(row: str, between: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split(between) if cell.strip()]


@pytest.mark.parametrize(("words", "between"), [([], "  "), (["--markdown"], "|")], ids=["plain", "markdown"])
def test_compare_gives_mean_and_deviation_over_seeds_as_pandas_does(
    seeds: Path, viewfinder: Type, words: list[str], between: str
) -> None:
    answer = viewfinder("compare", seeds, *words)
    assert (answer.code, answer.err) == (0, "")
    rows = {cells(line, between)[0]: cells(line, between)[1:] for line in answer.out.splitlines() if "±" in line}
    grouped = scores_below(seeds).groupby("rate")
    mean, deviation = grouped.mean(), grouped.std()
    assert (deviation[["val", "test"]] > 0).any().any()
    assert set(rows) == {"lr=0.01", "lr=0.0001"}
    for name, found in rows.items():
        rate = float(name.removeprefix("lr="))
        shown = [
            percent(mean.loc[rate, column], deviation.loc[rate, column]) for column in ("val", "test", "f1", "last")
        ]
        assert found == ["3", f"{mean.loc[rate, 'epoch']:.1f}".removesuffix(".0"), *shown]


def test_compare_puts_the_best_validation_accuracy_first(seeds: Path, viewfinder: Type) -> None:
    lines = [line for line in viewfinder("compare", seeds).out.splitlines() if "±" in line]
    means = scores_below(seeds).groupby("rate")["val"].mean().sort_values(ascending=False)
    assert [float(line.split()[0].removeprefix("lr=")) for line in lines] == list(means.index)


def test_compare_writes_a_row_a_run(seeds: Path, viewfinder: Type, tmp_path: Path) -> None:
    viewfinder("compare", seeds, "--csv", tmp_path / "said.csv")
    found, expected = pd.read_csv(tmp_path / "said.csv"), scores_below(seeds)
    found["rate"] = found["setting"].str.removeprefix("lr=").astype(float)
    found = found.sort_values(["rate", "seed"], ignore_index=True)
    expected = expected.sort_values(["rate", "seed"], ignore_index=True)
    columns = {"rate": "rate", "seed": "seed", "best_epoch": "epoch", "best_val": "val", "best_test": "test"}
    columns |= {"best_f1": "f1", "last_test": "last"}
    for ours, theirs in columns.items():
        np.testing.assert_allclose(found[ours], expected[theirs], rtol=1e-12)


def test_compare_names_the_runs_it_leaves_out_and_why(seeds: Path, viewfinder: Type, tmp_path: Path) -> None:
    shutil.copytree(seeds, tmp_path / "runs")
    stopped = RunFolder.open(tmp_path / "runs" / "0.01_1")
    stopped.scores.unlink()
    stopped.update_run(status="failed", error="the flux ran dry")
    answer = viewfinder("compare", tmp_path / "runs")
    assert answer.code == 0
    (said,) = [line for line in answer.out.splitlines() if "left out" in line]
    assert str(stopped.path) in said
    assert "the flux ran dry" in said
    (row,) = [line for line in answer.out.splitlines() if line.startswith("lr=0.01 ")]
    assert row.split()[1] == "2"


def test_compare_numbers_settings_that_are_too_long_for_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    numbers = {
        f"{name}_{how}": 0.5 for name in ("best_val", "best_test", "best_f1", "last_test") for how in ("mean", "std")
    }
    long = "MLP accelerator=cpu limit_batches=3 max_epochs=2 limit=null"
    print_comparison(pd.DataFrame([{"setting": long, "seeds": 3, "best_epoch": 2.0, **numbers}]), markdown=False)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("1 ")
    assert lines[2] == f"1  {long}"


# report


def test_report_makes_the_same_page_from_the_run_folder_alone(
    finished: RunFolder, viewfinder: Type, tmp_path: Path
) -> None:
    copy = RunFolder(Path(shutil.copytree(finished.path, tmp_path / finished.path.name)))
    for path in (copy.report, copy.curves, copy.confusion):
        path.unlink()
    answer = viewfinder("report", copy.path)
    assert (answer.code, answer.err) == (0, "")
    assert str(copy.report) in answer.out.splitlines()
    assert copy.report.read_bytes() == finished.report.read_bytes()
    assert {path.name for path in copy.path.iterdir()} == {path.name for path in finished.path.iterdir()}


def test_the_report_is_one_file_that_asks_for_no_other(finished: RunFolder) -> None:
    html = finished.report.read_text(encoding="utf-8")
    page = Page(html)
    assert len(page.fetched) >= 3
    assert [each for each in page.fetched if not each.startswith(("data:image/png;base64,", "#"))] == []
    assert page.tags.isdisjoint({"script", "link", "iframe"})
    assert [word for word in ("http://", "https://", "@import", "url(") if word in html] == []


def test_the_report_shows_class_names_as_they_are_and_the_scores(finished: RunFolder) -> None:
    html = finished.report.read_text(encoding="utf-8")
    assert "<b>&x" not in html
    assert "&lt;b&gt;&amp;x" in html
    text = Page(html).text
    assert set(CLASSES) <= {each.strip() for each in text}
    scores = finished.read_scores()
    for which in ("best", "last"):
        for split in ("val", "test"):
            assert f"{scores[which][split]['loss']:.4f}" in text


def test_report_writes_every_page_below_a_folder(seeds: Path, viewfinder: Type, tmp_path: Path) -> None:
    for name in ("0.01_0", "0.01_1"):
        shutil.copytree(seeds / name, tmp_path / "runs" / name)
        (tmp_path / "runs" / name / "report.html").unlink()
    answer = viewfinder("report", tmp_path / "runs")
    pages = [tmp_path / "runs" / name / "report.html" for name in ("0.01_0", "0.01_1")]
    assert answer.out.splitlines() == [str(page) for page in pages]
    assert all(page.read_bytes() == (seeds / page.parent.name / "report.html").read_bytes() for page in pages)


# What is not a run


@pytest.mark.parametrize("verb", ["evaluate", "predict", "compare", "report"])
def test_a_folder_that_is_no_run_is_refused_by_its_name(viewfinder: Type, tmp_path: Path, verb: str) -> None:
    words = [tmp_path / "nothing here"] + [tmp_path / "a.png"] * (verb == "predict")
    answer = viewfinder(verb, *words)
    assert (answer.code, answer.out) == (2, "")
    assert "nothing here" in answer.err
    assert "Traceback" not in answer.err


# --help

SCRIPT = Path(sys.executable).with_name("viewfinder")
HELPS = {
    "train.py": [ROOT / "train.py"],
    "viewfinder": [SCRIPT],
    **{verb: [SCRIPT, verb] for verb in ("train", "search", "lr-range", "evaluate", "predict", "compare", "report")},
}


@pytest.mark.parametrize("words", HELPS.values(), ids=HELPS)
def test_help_answers_without_importing_torch(words: list[str | Path], tmp_path: Path) -> None:
    typed = [sys.executable, "-X", "importtime", *map(str, words), "--help"]
    done = subprocess.run(typed, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 3
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "viewfinder" in imported
    assert {"torch", "pytorch_lightning", "pandas", "matplotlib", "tensorboard"}.isdisjoint(imported)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["torch", "no_such_module"])
def test_garbage_is_looked_for_again_once_libraries_are_imported(module: str) -> None:
    script = f"""
import atexit, contextlib, gc
atexit.register(lambda: print(gc.get_freeze_count() > after))  # what is registered first is called last
from viewfinder.training.runtime import importing
with contextlib.suppress(ImportError), importing():
    print(gc.isenabled())
    import {module}
after, made_since = gc.get_freeze_count(), [[] for _ in range(1000)]
print(gc.isenabled(), after > 1000)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True", "True"]


@pytest.mark.parametrize("within", ["import torchmetrics", "from scipy.signal import lfilter", "import scipy.signal"])
def test_scipy_signal_is_imported_only_where_somebody_uses_it(within: str) -> None:
    script = f"""
import sys
from viewfinder.training.runtime import importing
with importing():
    {within}
    print("scipy.signal._filter_design" in sys.modules)
import scipy
print(scipy.signal.lfilter([1], [1], [2.0]), scipy.signal is sys.modules["scipy.signal"])
from scipy.signal import windows
print(hasattr(windows, "hamming"))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(within.startswith("from")), "[2.]", "True", "True"]


def test_a_mistyped_key_is_answered_without_importing_torch_and_leaves_nothing(tmp_path: Path) -> None:
    typed = [sys.executable, "-X", "importtime", str(ROOT / "train.py"), "optimizer.lrr=0.1", "modle=mlp"]
    done = subprocess.run(typed, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert "    Did you mean optimizer.lr?" in said
    assert "    Did you mean model?" in said
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "hydra" in imported
    assert "torch" not in imported
    assert list(tmp_path.iterdir()) == []


# The wheel


def test_the_wheel_carries_conf_and_the_page_and_finds_them(tmp_path: Path) -> None:
    source = tmp_path / "source"
    names = ("src", "conf", "pyproject.toml", "README.md", "LICENSE", "train.py")
    source.mkdir()
    for name in names:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    # Without hatchling here, pip fetches it as it does for anyone who installs from source.
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    build = [sys.executable, "-m", "pip", "wheel", str(source), "--no-deps", "--quiet", *isolation]
    done = subprocess.run([*build, "-w", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("viewfinder-*.whl")
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*.yaml")}
    carried = {path.relative_to(unpacked / "viewfinder").as_posix() for path in unpacked.rglob("*.yaml")}
    assert carried == shipped
    assert (unpacked / "viewfinder" / "reporting" / "pages" / "run.html.j2").is_file()
    modules = {path.relative_to(ROOT / "src") for path in (ROOT / "src" / "viewfinder").rglob("*.py")}
    assert {path.relative_to(unpacked) for path in (unpacked / "viewfinder").rglob("*.py")} == modules
    code = "import viewfinder.config.overrides as o; print(o.find_conf());"
    code += " print(o.compose_config(['model=mlp']).model.widths)"
    asked = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env={"PYTHONPATH": str(unpacked)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert asked.stdout.splitlines() == [str(unpacked / "viewfinder" / "conf"), "[512, 256]"], asked.stderr
