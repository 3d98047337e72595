"""How long an epoch takes: Viewfinder, and three ways of writing the same training by hand.

    python bench/speed.py PICTURES                        the table, bench/speed.json and bench/speed.png
    python bench/speed.py PICTURES --networks simple_cnn  one network
    python bench/speed.py PICTURES --device cuda          on a GPU: bench/speed_cuda.json and bench/speed_cuda.png

PICTURES holds train/<class>/ and test/<class>/. Each way is a process of its own, and they run in turn, so that a busy
minute of the machine meets all of them. An epoch is training on 80% of train/ in batches of 32 by Adam, then validating
on the rest; timed is the last of two. custom_cnn takes a part of the pictures and resnet50, with random weights, a
small one: their seconds are scaled to all of them. The pass that computes features of a frozen backbone, once for all
epochs, is added to Viewfinder's. A GPU trains on all pictures, and all ways run in one process; how long it is busy in
an epoch is what its kernels take together in a turn that torch.profiler records.

    tutorial    the tutorial's network, Pillow pictures and ToTensor in a DataLoader, loss.item() each step; workers and
                threads = cores
    tutorial+   the same with the number of workers and threads that is fastest here
    lightning   plain Lightning as its documentation shows it: self.log and torchmetrics each step, with `tutorial+`'s
                network and DataLoader
    bare        a loop over Viewfinder's own batches and network, with its settings, and nothing else
    viewfinder  run_experiment, everything on
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

WAYS = ("tutorial", "tutorial+", "lightning", "bare", "viewfinder")
NETWORKS = ("mlp", "simple_cnn", "custom_cnn", "resnet50")
WHOLE = 40_000
PART = {"cpu": {"custom_cnn": 4_000, "resnet50": 128}, "cuda": {"resnet50": 4_000}}
"""Training pictures of the networks whose epoch is long."""
BATCH = 32
EPOCHS = 2
DEVICE = "cpu"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, help="so many training pictures at most")
    parser.add_argument("--device", choices=PART, default=DEVICE)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--one", nargs=2, metavar=("WAY", "NETWORK"), help=argparse.SUPPRESS)
    parser.add_argument("--setting", type=int, nargs=2, metavar=("WORKERS", "THREADS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    globals()["DEVICE"] = args.device
    if args.one:
        way, network = args.one
        print(json.dumps(measure(way, network, args.pictures, args.limit, args.setting)))
        return
    arrays = decoded(args.pictures)
    results = {network: race(network, arrays, args) for network in args.networks}
    name = "speed" if args.device == "cpu" else f"speed_{args.device}"
    (args.out / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n")
    table(results)
    chart(results, args.out / f"{name}.png")


def race(network: str, arrays: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Every way in turn, `rounds` times: {way: {"seconds": [...], "accuracy": ..., "memory": MB, ...}}."""
    count = min(args.limit or WHOLE, PART[DEVICE].get(network, WHOLE))

    def run(way: str, setting: list[int] | None = None) -> dict[str, Any]:
        if DEVICE != "cpu":
            found = measure(way, network, arrays, count, setting)
        else:
            typed = [sys.executable, __file__, str(arrays), "--one", way, network, "--limit", str(count)]
            typed += ["--setting", *map(str, setting)] if setting else []
            done = subprocess.run(typed, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(done.stderr)
            found = json.loads(done.stdout.splitlines()[-1])
        return found | {"seconds": found["seconds"] * WHOLE / count}

    cores = os.cpu_count() or 1
    best = run("settings")["best"] if set(args.ways) & {"tutorial+", "lightning"} else None
    settings: dict[str, Any] = {"tutorial": [cores, cores], "tutorial+": best, "lightning": best}
    found: dict[str, Any] = {way: {"seconds": [], "gflops": [], "setting": settings.get(way)} for way in args.ways}
    for number in range(args.rounds):
        # In a process that knows the way, the first epoch is as fast as the second.
        globals()["EPOCHS"] = 1 if DEVICE != "cpu" and number else 2
        for way in args.ways:
            one, known = run(way, settings.get(way)), found[way]
            known["seconds"].append(one.pop("seconds"))
            known["gflops"].append(one.pop("gflops"))
            found[way] = one | known | {"memory": max(one["memory"], known.get("memory", 0))}
            print(f"{network} round {number + 1}: {way} {known['seconds'][-1]:.2f} s", file=sys.stderr, flush=True)
    if DEVICE != "cpu":
        for way, each in found.items():
            few = min(count, 8_000)
            each["busy"] = busy_seconds(way, network, arrays, few, settings.get(way)) * WHOLE / few
    return found


def busy_seconds(way: str, network: str, arrays: Path, count: int, setting: list[int] | None) -> float:
    """What the GPU's kernels take together in an epoch: what two epochs take and one does not."""
    import torch

    taken = []
    for epochs in (1, 2):
        globals()["EPOCHS"] = epochs
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
            measure(way, network, arrays, count, setting)
        events = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
        taken.append(sum(each.duration_ns() for each in events if str(each.device_type()).endswith("CUDA")))
    return (taken[1] - taken[0]) / 1e9


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


def measure(way: str, network: str, arrays: Path, limit: int, setting: list[int] | None) -> dict[str, Any]:
    """The last epoch of one way in this process."""
    ways: dict[str, Callable[[str, Path, int, Any], dict[str, Any]]] = {
        "tutorial": tutorial, "tutorial+": tutorial, "lightning": lightning, "bare": bare, "viewfinder": viewfinder,
        "settings": find_setting,
    }  # fmt: skip
    if way in ("bare", "viewfinder"):
        from viewfinder.training.runtime import settle_threads

        settle_threads()
    before = matmul_rate()
    found = ways[way](network, arrays, limit, setting)
    return {**found, "memory": peak_memory(), "gflops": (before + matmul_rate()) / 2}


def peak_memory() -> int:
    """MB; not by getrusage, which begins with what the parent had."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return round(int(line.split()[1]) / 1024)


def matmul_rate() -> float:
    """Matrix multiplications of float32 by torch now, in GFLOP/s."""
    import torch

    size = 1024 if DEVICE == "cpu" else 8192
    square = torch.rand(size, size, device=DEVICE)
    rates = []
    for _ in range(6):
        started = time.perf_counter()
        torch.mm(square, square)
        wait()
        rates.append(2 * size**3 / (time.perf_counter() - started) / 1e9)
    return statistics.median(rates[1:])


def wait() -> None:
    """For the GPU."""
    import torch

    if DEVICE != "cpu":
        torch.cuda.synchronize()


def arrays_of(folder: Path, limit: int) -> tuple[Any, Any]:
    import numpy as np

    pixels, labels = np.load(folder / "train.npy", mmap_mode="r"), np.load(folder / "labels.npy")
    order = np.random.RandomState(0).permutation(len(pixels))[: limit + limit // 4]
    return pixels[order], labels[order]


def tutorial_network(name: str) -> Any:
    import torch
    from plain_loop import NETWORKS as PLAIN
    from torchvision.models import resnet50

    torch.manual_seed(0)
    if name != "resnet50":
        return PLAIN[name]()
    network = resnet50()
    network.requires_grad_(False)
    network.fc = torch.nn.Sequential(torch.nn.Dropout(0.2), torch.nn.Linear(2048, 10))  # type: ignore[assignment]
    return network


class Tutorial:
    """torchvision's CIFAR10 data set as it is: a Pillow picture for each index, made a tensor by its transform."""

    def __init__(self, pixels: Any, labels: Any, large: bool):
        from torchvision.transforms import Compose, Normalize, Resize, ToTensor

        self.pixels, self.labels, self.transform = pixels, labels, ToTensor()
        if large:
            normalize = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
            self.transform = Compose([Resize((224, 224)), ToTensor(), normalize])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[index])), int(self.labels[index])


def tutorial_loaders(name: str, arrays: Path, limit: int, workers: int) -> tuple[Any, Any]:
    import torch
    from torch.utils.data import DataLoader, random_split

    everything: Any = Tutorial(*arrays_of(arrays, limit), large=name == "resnet50")
    train, val = random_split(everything, (0.8, 0.2), torch.Generator().manual_seed(0))
    return (
        DataLoader(train, BATCH, shuffle=True, num_workers=workers),
        DataLoader(val, BATCH, num_workers=workers),
    )


def tutorial(name: str, arrays: Path, limit: int, setting: list[int], most: int | None = None) -> dict[str, Any]:
    import torch

    workers, threads = setting
    torch.set_num_threads(threads)
    train, val = tutorial_loaders(name, arrays, limit, workers)
    network = tutorial_network(name).to(DEVICE)
    loss_function = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    started, right = 0.0, 0
    for _ in range(EPOCHS):
        started = time.perf_counter()
        network.train()
        total = 0.0
        for number, (pictures, labels) in enumerate(train):
            pictures, labels = pictures.to(DEVICE), labels.to(DEVICE)
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
                pictures, labels = pictures.to(DEVICE), labels.to(DEVICE)
                logits = network(pictures)
                total += loss_function(logits, labels).item()
                right += (logits.argmax(1) == labels).sum().item()
    return {"seconds": time.perf_counter() - started, "accuracy": right / len(val.dataset)}


def find_setting(name: str, arrays: Path, limit: int, setting: None) -> dict[str, Any]:
    """The fastest (workers, threads) for the tutorial's way, by some steps of each, twice."""
    cores = os.cpu_count() or 1
    options = [[workers, threads] for workers in (0, 1, cores) for threads in (1, cores)]
    most = {"resnet50": 3, "custom_cnn": 40}.get(name, 150)
    if DEVICE != "cpu":  # where starting the workers would count for more than what they do
        options, most = [[workers, cores] for workers in (0, 4, cores)], {"resnet50": 50}.get(name, 1_000)
    seconds = {str(each): [tutorial(name, arrays, limit, each, most)["seconds"] for _ in range(2)] for each in options}
    return {"best": min(options, key=lambda each: min(seconds[str(each)])), "tried": seconds, "seconds": 0.0}


def lightning(name: str, arrays: Path, limit: int, setting: list[int]) -> dict[str, Any]:
    import pytorch_lightning as pl
    import torch
    from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassPrecision, MulticlassRecall

    workers, threads = setting
    torch.set_num_threads(threads)

    class Documented(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = tutorial_network(name)
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
        trainer = pl.Trainer(max_epochs=EPOCHS, accelerator=DEVICE, default_root_dir=folder, callbacks=[clock])
        trainer.fit(Documented(), *tutorial_loaders(name, arrays, limit, workers))
    return {"seconds": clock.seconds, "accuracy": trainer.callback_metrics["val_accuracy"].item()}


def open_arrays(arrays: Path, limit: int) -> Any:
    """Viewfinder's data over the pictures that are decoded already."""
    import numpy as np
    import torch

    from viewfinder.data.module import ImageData
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
    return data


def bare(name: str, arrays: Path, limit: int, setting: None) -> dict[str, Any]:
    """What is left of an epoch without Lightning, metrics, TensorBoard, checkpoints and bar."""
    import torch

    from viewfinder.config.overrides import compose_config
    from viewfinder.experiment.build import build_network
    from viewfinder.training.choices import choose
    from viewfinder.training.precision import forward_context, set_tf32
    from viewfinder.training.runtime import keep_freed_memory, look_for_no_gpu

    keep_freed_memory()
    look_for_no_gpu()
    device = torch.device(DEVICE)
    torch.manual_seed(0)
    cfg = compose_config(typed(name))
    network: Any = build_network(cfg, 3, 10).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    precision = choose(network, (BATCH, 3, 32, 32), device, cfg.trainer).precision
    set_tf32(precision == "tf32")
    data = open_arrays(arrays, limit)
    preprocess = network.preprocess
    data.load(preprocess.image_size)
    data.settle(device)
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-3, fused=True)

    def batches(loader: Any) -> Iterator[Any]:
        return (batch for chunk in loader for batch in chunk.to(device))

    started, right = 0.0, 0
    for _ in range(EPOCHS):
        started = time.perf_counter()
        network.train()
        for batch in batches(data.train_dataloader()):
            with forward_context(precision, device):
                loss = torch.nn.functional.cross_entropy(network(preprocess(batch.pixels)), batch.labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        network.eval()
        with torch.inference_mode():
            right = sum(
                (network(preprocess(b.pixels)).argmax(1) == b.labels).sum() for b in batches(data.val_dataloader())
            )
        right = int(right)
    return {"seconds": time.perf_counter() - started, "accuracy": right / len(data.splits["val"])}


def typed(name: str) -> list[str]:
    return [
        f"model={name}",
        "trainer=cpu" if DEVICE == "cpu" else "trainer=gpu",
        f"trainer.max_epochs={EPOCHS}",
        *["model.weights=null"] * (name == "resnet50"),
    ]


def viewfinder(name: str, arrays: Path, limit: int, setting: None) -> dict[str, Any]:
    """run_experiment with every file, chart and metric."""
    import viewfinder.experiment.run as story
    from viewfinder.config.overrides import compose_config

    data = open_arrays(arrays, limit)
    story.open_data = lambda cfg: data
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ):
        if name == "resnet50":  # or features would be found that an earlier turn has computed
            os.environ["XDG_CACHE_HOME"] = folder
        scores = story.run_experiment(compose_config([*typed(name), f"run_dir={folder}/run"]))
        facts = json.loads((Path(folder) / "run" / "run.json").read_text())
    network = facts["network"]
    backward = 2 if network["trained"] == network["parameters"] else 0  # of a frozen one, the head's is next to nothing
    flops = 2 * network["multiply_adds"] * ((1 + backward) * WHOLE + WHOLE // 4)
    features = facts.get("features")
    once = (limit + limit // 4) / features["pictures_per_second"] if features else 0.0
    return {
        "seconds": once + facts["epoch_seconds"][-1], "accuracy": scores["last"]["val"]["accuracy"], "flops": flops,
        "device": facts["device"], "precision": facts["precision"],
    }  # fmt: skip


def table(results: dict[str, Any]) -> None:
    """Medians with the least and the most, and how they compare; Markdown."""
    print("| seconds an epoch | " + " | ".join(WAYS) + " |")
    print("|---" * (len(WAYS) + 1) + "|")
    for network, ways in results.items():
        print(
            f"| `{network}` | " + " | ".join(spread(ways[way]["seconds"]) if way in ways else "" for way in WAYS) + " |"
        )
    print()
    for network, ways in results.items():
        if "viewfinder" not in ways:
            continue
        ours = ways["viewfinder"]
        turns = zip(ours["seconds"], ours["gflops"], strict=True)
        share = statistics.median(ours["flops"] / 1e9 / seconds / gflops for seconds, gflops in turns)
        print(f"{network}, {ours['device']}, {ours['precision']}: {share:.0%} of the float32 matrix-multiply rate")
        for way, found in ways.items():
            times = [theirs / own for theirs, own in zip(found["seconds"], ours["seconds"], strict=True)]
            setting = "{} workers, {} threads; ".format(*found["setting"]) if found["setting"] else ""
            busy = f"GPU busy {found['busy'] / statistics.median(found['seconds']):.0%}; " if "busy" in found else ""
            print(
                f"  {way:11} {statistics.median(times):5.3f} times viewfinder's time (medians of turns); "
                f"{busy}{setting}"
                f"accuracy after {EPOCHS} epochs {found['accuracy']:.3f}; {found['memory']} MB at most"
            )


def spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"


def chart(results: dict[str, Any], path: Path) -> None:
    """An epoch's seconds, a panel a network."""
    from matplotlib.figure import Figure

    columns = 2 if len(results) % 3 else 3
    rows = -(-len(results) // columns)
    figure = Figure(figsize=(9, 0.7 + 1.75 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, each in itertools.zip_longest(panels, results.items()):
        if each is None:
            axes.remove()
            continue
        network, ways = each
        names = list(ways)[::-1]
        seconds = [statistics.median(ways[name]["seconds"]) for name in names]
        bars = axes.barh(names, seconds, color=["#1f77b4" if name == "viewfinder" else "#bbbbbb" for name in names])
        axes.bar_label(bars, [f"{each:.1f} s" if each < 100 else f"{each:.0f} s" for each in seconds], padding=3)
        axes.set_title(network)
        axes.set_xlim(0, max(seconds) * 1.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(f"seconds an epoch of {WHOLE:,} pictures, with validation", fontsize=10)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
