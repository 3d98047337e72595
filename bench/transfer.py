"""Gain of transfer learning: a network trained on six classes of CIFAR-10, transferred to the other four.

    python bench/transfer.py PICTURES                                 the table and docs/transfer.png
    python bench/transfer.py PICTURES data.limit=100 trainer.max_epochs=1 --out /tmp/try --chart /tmp/try.png

PICTURES is CIFAR-10 as a folder for data=image_folder. custom_cnn trains on airplane, automobile, bird, cat, deer and
dog, then on frog, horse, ship and truck, with 50 and with 500 training images of each:

    frozen      a new head on the frozen backbone of the source run
    fine-tuned  the head first, then all layers at a lower learning rate
    scratch     the same network with random weights

All have the same number of epochs, the same training images, and the same 4,000 images to select the best epoch; each
seed has its own source run. Every run is a job of a sweep of `train.py`; an interrupted benchmark continues with the
same command line. Overrides at the end apply to every sweep.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from viewfinder.evaluation.comparison import read_runs, require_finished, summarise_settings
from viewfinder.reporting.style import style_axes
from viewfinder.reporting.tables import format_spread
from viewfinder.runs.find import find_runs
from viewfinder.runs.folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "data.classes=[airplane,automobile,bird,cat,deer,dog]"
TARGET = "data.classes=[frog,horse,ship,truck]"
SIZES = (50, 500)
"""Training images of each class."""
SOURCE_EPOCHS, EPOCHS = 5, 20
ALIKE = [
    "data=image_folder", "trainer.precision=32-true", "trainer.threads=1",
    "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
]  # fmt: skip
WAYS = {
    "frozen": ["experiment=custom_cnn", "model.freeze=true", f"trainer.max_epochs={EPOCHS}"],
    "fine-tuned": ["experiment=transfer", f"trainer.max_epochs={EPOCHS}"],
    "scratch": ["experiment=custom_cnn", f"trainer.max_epochs={EPOCHS}"],
}
"""Way -> its overrides, except the weights."""
LOOK = {
    "frozen": ("frozen backbone, new head", "#1f5fbf", "o"),
    "fine-tuned": ("head first, then everything", "#d9822b", "s"),
    "scratch": ("from scratch", "#5c6675", "^"),
}
"""Way -> its name, colour and marker."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "transfer", help="folder of the sweeps")
    parser.add_argument("--chart", type=Path, default=ROOT / "docs" / "transfer.png")
    args = parser.parse_intermixed_args()
    out = args.out.resolve()
    more = [f"data.root={args.pictures.resolve()}", *args.words]
    runs: dict[str, list[RunFolder]] = {way: [] for way in args.ways}
    seeds = ",".join(map(str, args.seeds))
    sizes = f"data.per_class={','.join(map(str, SIZES))}"
    sources: dict[int, RunFolder] = {}
    if set(args.ways) != {"scratch"}:
        line = ["experiment=custom_cnn", SOURCE, f"trainer.max_epochs={SOURCE_EPOCHS}", f"seed={seeds}"]
        sources = {run.read_settings()["seed"]: run for run in run_sweep(out / "source", line, more)}
    for way in args.ways:
        line = [TARGET, sizes, *WAYS[way]]
        if way == "scratch":
            runs[way] += run_sweep(out / way, [*line, f"seed={seeds}"], more)
            continue
        for seed in args.seeds:  # each needs other weights, and so its own sweep
            of_seed = [f"seed={seed}", f"model.weights={sources[seed].path}"]
            runs[way] += run_sweep(out / f"{way}_{seed}", [*line, *of_seed], more)
    table = read_scores(runs)
    summary = summarise_settings(table.assign(setting=list(zip(table["way"], table["size"], strict=True))))
    summary[["way", "size"]] = summary["setting"].to_list()
    print_table(summary)
    draw(table, summary).savefig(args.chart, dpi=130)
    print(f"\n{args.chart}")


def run_sweep(folder: Path, line: list[str], more: list[str]) -> list[RunFolder]:
    """Start or continue a sweep and return its runs."""
    place = [f"output_dir={folder.parent}", f"sweep.name={folder.name}"]
    command = [sys.executable, str(ROOT / "train.py"), "-m", *place, *ALIKE, *line, *more]
    print(f"\n{' '.join(command)}", flush=True)
    if code := subprocess.run(command, check=False).returncode:
        raise SystemExit(code)
    return find_runs(folder)


def read_scores(runs: Mapping[str, list[RunFolder]]) -> pd.DataFrame:
    """Return the rows of `read_runs` with the way and the number of training images of each class (size)."""
    tables = []
    for way, folders in runs.items():
        compared = read_runs(folders)
        require_finished(compared)
        sizes = [RunFolder.open(Path(path)).read_settings()["data"]["per_class"] for path in compared.table["run"]]
        tables.append(compared.table.assign(way=way, size=sizes))
    return pd.concat(tables, ignore_index=True)


def print_table(summary: pd.DataFrame) -> None:
    """Print test accuracy at the best epoch in percent, mean and standard deviation over the seeds, as Markdown."""
    cells = {
        (row["way"], row["size"]): format_spread(row["best_test_mean"], row["best_test_std"])
        for row in summary.to_dict("records")
    }
    ways, sizes = dict.fromkeys(way for way in LOOK if way in set(summary["way"])), sorted(set(summary["size"]))
    print("\n| test accuracy, best epoch | " + " | ".join(f"{size} images a class" for size in sizes) + " |")
    print("|---" * (len(sizes) + 1) + "|")
    for way in ways:
        print(f"| {LOOK[way][0]} | " + " | ".join(cells.get((way, size), "") for size in sizes) + " |")


def draw(table: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Draw test accuracy against images a class: a line for each way with error bars, and a faint point for each run.

    Args:
        table: a row for each run with way, size and best_test as a fraction.
        summary: a row for each way and size with best_test_mean and best_test_std.
    """
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for place, way in enumerate(way for way in LOOK if way in set(table["way"])):
        label, colour, marker = LOOK[way]
        means, single = summary.loc[summary["way"] == way].sort_values(by="size"), table.loc[table["way"] == way]
        aside = 1.03 ** (place - 1)  # otherwise the error bars would overlap
        axes.plot(single["size"] * aside, 100 * single["best_test"], marker, color=colour, ms=4, alpha=0.35, mew=0)
        axes.errorbar(
            means["size"] * aside, 100 * means["best_test_mean"], 100 * means["best_test_std"].fillna(0.0), fmt=marker,
            ls="-", color=colour, ms=6, lw=1.6, capsize=3, label=label,
        )  # fmt: skip
    sizes = sorted(set(table["size"]))
    axes.set_xscale("log")
    axes.set_xticks(sizes, map(str, sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="training images of each of the four classes", ylabel="test accuracy at the best epoch, %")
    axes.legend(frameon=False, title="mean ± deviation over seeds")
    style_axes(axes)
    return figure


if __name__ == "__main__":
    main()
