"""How long an epoch takes: Viewfinder, and three ways of writing the same training by hand.

    python bench/speed.py PICTURES                       the table, bench/speed.json and bench/speed.png
    python bench/speed.py PICTURES --slow-limit 10000    the same in less time

PICTURES holds train/<class>/ and test/<class>/. Each way is a process of its own, and they run in turn, so that a busy
minute of the machine meets all of them. An epoch is training on 80% of train/ in batches of 32 by Adam, then validating
on the rest.

    tutorial    Pillow pictures and ToTensor in a DataLoader, loss.item() each step; workers = cores
    tutorial+   the same with the number of workers and threads that is fastest here
    lightning   plain Lightning as its documentation shows it: self.log and torchmetrics each step, with `tutorial+`'s
                DataLoader
    bare        a loop over Viewfinder's own batches, with its settings, and nothing else
    viewfinder  run_experiment, everything on
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

WAYS = ("tutorial", "tutorial+", "lightning", "bare", "viewfinder")
NETWORKS = ("mlp", "simple_cnn", "custom_cnn")
BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, help="so many training pictures at most, for every way")
    parser.add_argument("--slow-limit", type=int, help="and for the first three ways; seconds are scaled to --limit")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--one", nargs=2, metavar=("WAY", "NETWORK"), help=argparse.SUPPRESS)
    parser.add_argument("--setting", type=int, nargs=2, metavar=("WORKERS", "THREADS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        way, network = args.one
        print(json.dumps(measure(way, network, args.pictures, args.limit, args.setting)))
        return
    arrays = decoded(args.pictures)
    results = {network: race(network, arrays, args) for network in args.networks}
    table(results)
    (args.out / "speed.json").write_text(json.dumps(results, indent=2) + "\n")
    if len(args.networks) == len(NETWORKS):
        chart(results, args.out / "speed.png")


def race(network: str, arrays: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Every way in turn, `rounds` times: {way: {"seconds": [...], "memory": MB, ...}}."""

    whole = args.limit or 40_000

    def run(way: str, *more: str) -> dict[str, Any]:
        count = min(whole, args.slow_limit or whole) if way not in ("bare", "viewfinder") else whole
        typed = [sys.executable, __file__, str(arrays), "--one", way, network, "--limit", str(count), *more]
        done = subprocess.run(typed, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        return found | {"seconds": found["seconds"] * whole / count}

    cores = os.cpu_count() or 1
    best = [str(number) for number in run("settings")["best"]] if set(args.ways) & {"tutorial+", "lightning"} else []
    settings = {"tutorial": [str(cores), str(cores)], "tutorial+": best, "lightning": best}
    found: dict[str, Any] = {way: {"seconds": [], "matmul": []} for way in args.ways}
    for number in range(args.rounds):
        for way in args.ways:
            one = run(way, *(["--setting", *settings[way]] if way in settings else []))
            found[way]["seconds"].append(one["seconds"])
            found[way]["matmul"].append(one["gflops"])
            found[way] |= {key: one[key] for key in ("memory", "setting", "flops") if key in one}
            print(f"{network} round {number + 1}: {way} {one['seconds']:.2f} s", file=sys.stderr, flush=True)
    return found


def decoded(pictures: Path) -> Path:
    """A folder with train.npy, (N, 32, 32, 3) uint8, and labels.npy, decoded once."""
    if (pictures / "train.npy").exists():
        return pictures
    import numpy as np
    from torchvision.datasets import ImageFolder

    folder = ImageFolder(str(pictures / "train"))
    out = Path(tempfile.mkdtemp(prefix="viewfinder-bench-"))
    np.save(out / "train.npy", np.stack([np.asarray(picture.convert("RGB")) for picture, _ in folder]))
    np.save(out / "labels.npy", np.array(folder.targets))
    return out


def measure(way: str, network: str, arrays: Path, limit: int | None, setting: list[int] | None) -> dict[str, Any]:
    """One epoch (the second, where an epoch is quick) of one way in this process."""
    ways: dict[str, Callable[[str, Path, int | None, Any], dict[str, Any]]] = {
        "tutorial": tutorial, "tutorial+": tutorial, "lightning": lightning, "bare": bare, "viewfinder": viewfinder,
        "settings": find_setting,
    }  # fmt: skip
    if way in ("bare", "viewfinder"):
        from viewfinder.process import settle_threads

        settle_threads()
    before = matmul_rate()
    found = ways[way](network, arrays, limit, setting)
    return {**found, "memory": peak_memory(), "setting": setting, "gflops": (before + matmul_rate()) / 2}


def peak_memory() -> int:
    """MB; not by getrusage, which begins with what the parent had."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return round(int(line.split()[1]) / 1024)


def matmul_rate() -> float:
    """Matrix multiplications by torch now, in GFLOP/s."""
    import torch

    square = torch.rand(1024, 1024)
    torch.mm(square, square)
    rates = []
    for _ in range(5):
        started = time.perf_counter()
        torch.mm(square, square)
        rates.append(2 * 1024**3 / (time.perf_counter() - started) / 1e9)
    return statistics.median(rates)


def arrays_of(folder: Path, limit: int | None) -> tuple[Any, Any]:
    import numpy as np

    pixels, labels = np.load(folder / "train.npy"), np.load(folder / "labels.npy")
    order = np.random.RandomState(0).permutation(len(pixels))[: None if limit is None else limit + limit // 4]
    return pixels[order], labels[order]


def new_network(name: str) -> Any:
    """As the tutorial writes it: the layers alone."""
    import torch
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    torch.manual_seed(0)
    conf = Path(__file__).parents[1] / "conf" / "model"
    return instantiate(OmegaConf.load(conf / f"{name}.yaml"), channels=3, classes=10)


class Tutorial:
    """torchvision's CIFAR10 data set as it is: a Pillow picture for each index, made a tensor by ToTensor."""

    def __init__(self, pixels: Any, labels: Any):
        from torchvision.transforms import ToTensor

        self.pixels, self.labels, self.transform = pixels, labels, ToTensor()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[index])), int(self.labels[index])


def tutorial_loaders(arrays: Path, limit: int | None, workers: int) -> tuple[Any, Any]:
    import torch
    from torch.utils.data import DataLoader, random_split

    everything: Any = Tutorial(*arrays_of(arrays, limit))
    train, val = random_split(everything, (0.8, 0.2), torch.Generator().manual_seed(0))
    return (
        DataLoader(train, BATCH, shuffle=True, num_workers=workers),
        DataLoader(val, BATCH, num_workers=workers),
    )


def tutorial(name: str, arrays: Path, limit: int | None, setting: list[int], most: int | None = None) -> dict[str, Any]:
    import torch

    workers, threads = setting
    torch.set_num_threads(threads)
    train, val = tutorial_loaders(arrays, limit, workers)
    network = new_network(name)
    loss_function = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    started = time.perf_counter()
    network.train()
    total = 0.0
    for number, (pictures, labels) in enumerate(train):
        optimizer.zero_grad()
        logits = network(pictures)
        loss = loss_function(logits, labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
        if number == most:
            return {"seconds": time.perf_counter() - started}
    network.eval()
    right = 0
    with torch.no_grad():
        for pictures, labels in val:
            logits = network(pictures)
            total += loss_function(logits, labels).item()
            right += (logits.argmax(1) == labels).sum().item()
    return {"seconds": time.perf_counter() - started}


def find_setting(name: str, arrays: Path, limit: int | None, setting: None) -> dict[str, Any]:
    """The fastest (workers, threads) for the tutorial's way, by 150 steps of each, twice."""
    cores = os.cpu_count() or 1
    options = [[workers, threads] for workers in (0, 1, cores) for threads in (1, cores)]
    seconds = {str(each): [tutorial(name, arrays, limit, each, 150)["seconds"] for _ in range(2)] for each in options}
    return {"best": min(options, key=lambda each: min(seconds[str(each)])), "tried": seconds, "seconds": 0.0}


def lightning(name: str, arrays: Path, limit: int | None, setting: list[int]) -> dict[str, Any]:
    import pytorch_lightning as pl
    import torch
    from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassPrecision, MulticlassRecall

    workers, threads = setting
    torch.set_num_threads(threads)

    class Documented(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = new_network(name)
            self.train_accuracy = MulticlassAccuracy(10, average="micro")
            self.val_metrics = torch.nn.ModuleDict({
                "accuracy": MulticlassAccuracy(10, average="micro"), "f1": MulticlassF1Score(10),
                "precision": MulticlassPrecision(10), "recall": MulticlassRecall(10),
            })  # fmt: skip

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            pictures, labels = batch
            logits = self.network(pictures)
            loss = torch.nn.functional.cross_entropy(logits, labels)
            self.train_accuracy(logits, labels)
            self.log("train_loss", loss, prog_bar=True)
            self.log("train_accuracy", self.train_accuracy, on_step=True, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            pictures, labels = batch
            logits = self.network(pictures)
            self.log("val_loss", torch.nn.functional.cross_entropy(logits, labels), prog_bar=True)
            for metric, value in self.val_metrics.items():
                value(logits, labels)
                self.log(f"val_{metric}", value)  # type: ignore[arg-type]

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    class Clock(pl.Callback):
        started = seconds = 0.0

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            self.started = time.perf_counter()

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            self.seconds = time.perf_counter() - self.started

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(max_epochs=1, accelerator="cpu", default_root_dir=folder, callbacks=[clock])
        trainer.fit(Documented(), *tutorial_loaders(arrays, limit, workers))
    return {"seconds": clock.seconds}


def open_arrays(arrays: Path, limit: int | None, size: int) -> Any:
    """Viewfinder's data over the pictures that are decoded already."""
    import numpy as np
    import torch

    from viewfinder.data.image_data import ImageData
    from viewfinder.data.split import Rows, Split

    class Arrays(ImageData):
        def list_pictures(self) -> tuple[list[str], dict[str, Split]]:
            pixels, labels = arrays_of(arrays, limit)
            names = np.array([str(number) for number in range(len(labels))])
            content = Rows(torch.from_numpy(pixels))
            few = Split(names[:100], labels[:100], Rows(content.base[:100]))
            return [str(number) for number in range(10)], {"train": Split(names, labels, content), "test": few}

    data = Arrays(batch_size=BATCH, val_fraction=0.2)
    data.open()
    data.load(size)
    return data


def bare(name: str, arrays: Path, limit: int | None, setting: None) -> dict[str, Any]:
    """What is left of an epoch without Lightning, metrics, TensorBoard, checkpoints and bar."""
    import torch

    from viewfinder.choices import choose_precision
    from viewfinder.loop import forward_context
    from viewfinder.trainer import prepare_process

    prepare_process(None, True)
    cpu = torch.device("cpu")
    network = new_network(name).to(memory_format=torch.channels_last)
    precision, _ = choose_precision(network, (BATCH, 3, 32, 32), cpu, "auto")
    data = open_arrays(arrays, limit, network.preprocess.image_size)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    preprocess = network.preprocess

    def batches(loader: Any) -> Iterator[Any]:
        return (batch for chunk in loader for batch in chunk)

    def epoch() -> float:
        started = time.perf_counter()
        network.train()
        for batch in batches(data.train_dataloader()):
            with forward_context(precision, cpu):
                loss = torch.nn.functional.cross_entropy(network(preprocess(batch.pixels)), batch.labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        network.eval()
        with torch.no_grad():
            right = sum(
                (network(preprocess(b.pixels)).argmax(1) == b.labels).sum() for b in batches(data.val_dataloader())
            )
        float(right)
        return time.perf_counter() - started

    return {"seconds": [epoch() for _ in range(epochs_of(name))][-1]}


def viewfinder(name: str, arrays: Path, limit: int | None, setting: None) -> dict[str, Any]:
    """run_experiment with every file, chart and metric."""
    import viewfinder.experiment as story
    from viewfinder.overrides import compose_config

    data = None

    def opened(cfg: Any) -> Any:
        nonlocal data
        data = open_arrays(arrays, limit, 32)
        data.seed = cfg.seed
        return data

    story.open_data = opened
    with tempfile.TemporaryDirectory() as folder:
        typed = [f"model={name}", "trainer=cpu", f"trainer.max_epochs={epochs_of(name)}", f"run_dir={folder}/run"]
        story.run_experiment(compose_config(typed))
        facts = json.loads((Path(folder) / "run" / "run.json").read_text())
    return {"seconds": facts["epoch_seconds"][-1], "flops": facts["network"]["multiply_adds"]}


def epochs_of(name: str) -> int:
    return 1 if name == "custom_cnn" else 2


def table(results: dict[str, Any]) -> None:
    """Medians, and how many times as fast as the tutorial's way; Markdown."""
    print("| | " + " | ".join(WAYS) + " | viewfinder / bare | memory, MB |")
    print("|---" * (len(WAYS) + 3) + "|")
    for network, ways in results.items():
        seconds = {way: statistics.median(found["seconds"]) for way, found in ways.items()}
        cells = [f"{seconds[way]:.1f} s" if way in seconds else "" for way in WAYS]
        ratio = f"{seconds['viewfinder'] / seconds['bare']:.3f}" if {"viewfinder", "bare"} <= set(seconds) else ""
        memory = ", ".join(f"{way} {found['memory']}" for way, found in ways.items())
        print(f"| `{network}` | {' | '.join(cells)} | {ratio} | {memory} |")
    for network, ways in results.items():
        seconds = {way: statistics.median(found["seconds"]) for way, found in ways.items()}
        if "viewfinder" in seconds:
            others = [f"{seconds[w] / seconds['viewfinder']:.2f} times {w}" for w in seconds if w != "viewfinder"]
            print(f"{network}: viewfinder is {', '.join(others)}")


def chart(results: dict[str, Any], path: Path) -> None:
    """An epoch's seconds, a panel a network."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    for axes, (network, ways) in zip(figure.subplots(1, len(results)), results.items(), strict=True):
        names = list(ways)[::-1]
        seconds = [statistics.median(ways[name]["seconds"]) for name in names]
        bars = axes.barh(names, seconds, color=["#1f77b4" if name == "viewfinder" else "#bbbbbb" for name in names])
        axes.bar_label(bars, [f"{each:.1f} s" for each in seconds], padding=3)
        axes.set_title(network)
        axes.set_xlim(0, max(seconds) * 1.25)
        axes.set_xlabel("seconds an epoch")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
