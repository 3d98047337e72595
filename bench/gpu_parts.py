"""Parts of bench/gpu.py; each returns its figures and the rows of its table."""

import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
RECORD = "record"
"""Default experiment of the part `record`."""
IMAGES, FEW_IMAGES, CLASSES = 60_000, 600, 10
"""Synthetic images, and their number with --small."""
GPU_TESTS = ["tests/training/test_cuda_graph.py"]
SMALL = ["trainer.max_epochs=1", "data.limit=64", "trainer.threads=1"]


class Setup(NamedTuple):
    """What to measure, and where."""

    pictures: Path
    work: Path
    device: str
    is_small: bool
    experiment: str

    @property
    def words(self) -> list[str]:
        """Overrides of the data, the device and the size."""
        if (self.pictures / "train.npy").is_file():
            count = 64 if self.is_small else 10_000
            data = ["data=arrays", f"data.folder={self.pictures}", f"data.test_count={count}"]
        else:
            data = ["data=image_folder", f"data.root={self.pictures}"]
        return [*data, f"trainer={'gpu' if self.device == 'cuda' else 'cpu'}", *(SMALL if self.is_small else [])]


def write_images(folder: Path, count: int, side: int = 32) -> Path:
    """Write noisy images of ten patterns to train.npy and their labels to labels.npy in a folder, and return it."""
    rng = np.random.default_rng(0)
    patterns = rng.uniform(64, 192, (CLASSES, side // 4, side // 4, 3)).repeat(4, axis=1).repeat(4, axis=2)
    labels = np.arange(count) % CLASSES
    folder.mkdir(parents=True)
    pixels = np.lib.format.open_memmap(folder / "train.npy", "w+", np.uint8, (count, side, side, 3))
    for rows in np.array_split(np.arange(count), count // 4096 + 1):
        noise = rng.standard_normal((len(rows), side, side, 3), dtype=np.float32) * 60
        pixels[rows] = (patterns[labels[rows]] + noise).clip(0, 255)
    np.save(folder / "labels.npy", labels)
    return folder


def python_path() -> str:
    """Return PYTHONPATH with the sources of this checkout and this folder."""
    return os.pathsep.join([str(ROOT / "src"), str(BENCH), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


def start(*words: str) -> subprocess.Popen[str]:
    """Start a command line of Python in this folder, whose conf/ has the data source of arrays."""
    return subprocess.Popen(
        [sys.executable, *words], cwd=BENCH, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run(*words: str) -> tuple[str, float]:
    """Run a command line of Python and return its output and its seconds; end this part if it fails."""
    started, process = time.perf_counter(), start(*words)
    output, _ = process.communicate()
    print(output, flush=True)
    if process.returncode:
        raise SystemExit(process.returncode)
    return output, time.perf_counter() - started


def train(setup: Setup, name: str, *words: str) -> dict[str, Any]:
    """Run train.py and return the seconds of the whole command, of its epochs, and its accuracies."""
    from viewfinder.runs.atomic import read_json

    folder = setup.work / name
    _, seconds = run(str(ROOT / "train.py"), *setup.words, *words, f"run_dir={folder}")
    facts, scores = read_json(folder / "run.json"), read_json(folder / "scores.json")
    return {
        "seconds": seconds, "epoch_seconds": facts["epoch_seconds"], "precision": facts["precision"],
        "graph": facts["cuda_graph"], "features": facts["features"], "val": scores["best"]["val"]["accuracy"],
        "test": scores["best"]["test"]["accuracy"],
    }  # fmt: skip


def measure_tests(setup: Setup) -> dict[str, Any]:
    """Run the tests that need a GPU; on a CPU they are skipped."""
    chosen = ["-k", "memory"] if setup.is_small else []
    options = [
        "-o",
        "addopts=",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(ROOT),
        "-c",
        str(ROOT / "pyproject.toml"),
    ]
    output, _ = run("-m", "pytest", *options, *chosen, *(str(ROOT / path) for path in GPU_TESTS))
    counts = {kind: int(number) for number, kind in re.findall(r"(\d+) (passed|failed|skipped|error)", output)}
    return {"counts": counts, "rows": [["tests", ", ".join(f"{number} {kind}" for kind, number in counts.items())]]}


def measure_experiments(setup: Setup) -> dict[str, Any]:
    """Time whole commands."""
    resnet = ["experiment=resnet50", "model.weights=null"]
    if setup.is_small:
        resnet += ["model.image_size=32"]
    commands = {
        "simple_cnn": ["experiment=simple_cnn"],
        "custom_cnn": ["experiment=custom_cnn"],
        "resnet50, cached": resnet,
        "resnet50, plain, 1 epoch": [*resnet, "model.cache_features=false", "trainer.max_epochs=1"],
    }
    if setup.is_small:  # each start takes seconds
        del commands["custom_cnn"]
    results = {name: train(setup, f"run{n}", *words) for n, (name, words) in enumerate(commands.items())}
    rows = []
    for name, each in results.items():
        epoch = statistics.median(each["epoch_seconds"])
        rows.append([
            name, f"{each['seconds']:.1f} s, an epoch {epoch:.2f} s, val {each['val']:.4f}, test {each['test']:.4f}",
        ])  # fmt: skip
    return {**results, "rows": rows}


def measure_record(setup: Setup) -> dict[str, Any]:
    """Train an experiment with Viewfinder and by hand in this process, in turn; the first turn warms up."""
    from by_hand import train_by_hand

    from viewfinder.config.overrides import compose_config
    from viewfinder.experiment.run import run_experiment

    words = [f"experiment={setup.experiment}", *setup.words, "trainer.progress_bar=false"]
    turns: dict[str, list[float]] = {"viewfinder": [], "by hand": []}
    accuracies: dict[str, float] = {}
    ignored: list[str] = []
    for number in range(2 if setup.is_small else 4):
        ended = run_experiment(compose_config([*words, f"run_dir={setup.work / str(number)}"]))
        by_hand = train_by_hand(words)
        turns["viewfinder"].append(sum(ended.read_run()["epoch_seconds"]))
        turns["by hand"].append(by_hand["seconds"])
        accuracies = {"viewfinder": ended.read_scores()["best"]["val"]["accuracy"], "by hand": by_hand["accuracy"]}
        ignored = by_hand["ignored"]
    medians = {name: statistics.median(seconds[1:]) for name, seconds in turns.items()}
    pairs = list(zip(turns["viewfinder"], turns["by hand"], strict=True))[1:]
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    rows = [[f"{setup.experiment}, {name}", f"{medians[name]:.2f} s, val {accuracies[name]:.4f}"] for name in turns]
    rows.append([f"{setup.experiment}, viewfinder / by hand", f"{ratio:.3f}"])
    if ignored:
        rows.append(["by hand leaves out", " ".join(ignored)])
    return {"seconds": turns, "accuracy": accuracies, "ratio": ratio, "ignored": ignored, "rows": rows}


def measure_speed(setup: Setup) -> dict[str, Any]:
    """Run bench/speed.py for one network."""
    network, ways, limit = "simple_cnn", ["tutorial+", "lightning", "bare", "viewfinder"], 20_000
    if setup.is_small:
        network, ways, limit = "mlp", ["viewfinder"], 64
    options = [
        "--networks",
        network,
        "--ways",
        *ways,
        "--rounds",
        "1" if setup.is_small else "2",
        "--limit",
        str(limit),
    ]
    run(str(BENCH / "speed.py"), str(setup.pictures), "--device", setup.device, *options, "--out", str(setup.work))
    from viewfinder.runs.atomic import read_json

    (file,) = setup.work.glob("speed*.json")
    table: Any = read_json(file)[network]
    seconds = {way: statistics.median(result["seconds"]) for way, result in table.items()}
    return {
        "table": table,
        "rows": [[f"{network}, {way}, an epoch", f"{value:.2f} s"] for way, value in seconds.items()],
    }


def measure_resume(setup: Setup) -> dict[str, Any]:
    """Kill a deterministic run after its first epoch, resume it, and compare it with a run that was not killed."""
    words = [
        *setup.words,
        "experiment=custom_cnn",
        "augment=basic",
        "trainer.deterministic=true",
        "trainer.max_epochs=3",
    ]
    if not setup.is_small:
        words.append("data.limit=10000")
    else:
        words += ["model.widths=[4,8]", "model.hidden=[16]"]
    whole, killed = setup.work / "whole", setup.work / "killed"
    run(str(ROOT / "train.py"), *words, f"run_dir={whole}")
    process = start(str(ROOT / "train.py"), *words, f"run_dir={killed}")
    while not (killed / "metrics.csv").exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    epochs = len((killed / "metrics.csv").read_text().splitlines()) - 1
    run("-c", "from viewfinder.cli.start import start; start()", "resume", str(killed))
    names = ("metrics.csv", "predictions.csv")
    equal = all((whole / name).read_bytes() == (killed / name).read_bytes() for name in names)
    if not equal:
        raise SystemExit("the resumed run differs")
    return {"equal": equal, "epochs": epochs, "rows": [[f"killed after epoch {epochs} of 3, resumed", "bit-identical"]]}


def measure_sweep(setup: Setup) -> dict[str, Any]:
    """Time one job of a sweep, and two at once."""
    words = [str(ROOT / "train.py"), "-m", *setup.words, "experiment=simple_cnn", "hydra/launcher=joblib"]
    words += [f"output_dir={setup.work}", "hydra.launcher.n_jobs=2"]
    seconds = {}
    for name, seeds in (("one", "1"), ("two", "2,3")):
        _, seconds[name] = run(*words, f"sweep.name={name}", f"seed={seeds}")
    finished = len(list((setup.work / "two").glob("*/scores.json")))
    assert finished == 2, f"{finished} of 2 jobs finished"
    rows = [["one job", f"{seconds['one']:.1f} s"], ["two jobs at once", f"{seconds['two']:.1f} s"]]
    return {"seconds": seconds, "rows": rows}
