"""The ways of training that bench/speed.py compares, each for some epochs in this process."""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

WHOLE = 40_000
"""Training images of CIFAR-10 without the validation part."""
BATCH = 32
EPOCHS = 2
"""Epochs to run; the last one is timed."""
DEVICE = "cpu"


def measure(way: str, network: str, arrays: Path, limit: int, setting: list[int] | None) -> dict[str, Any]:
    """Run one way in this process and measure its last epoch."""
    ways: dict[str, Callable[[str, Path, int, Any], dict[str, Any]]] = {
        "tutorial": tutorial, "tutorial+": tutorial, "lightning": lightning, "bare": bare, "viewfinder": viewfinder,
        "settings": find_setting,
    }  # fmt: skip
    if way in ("bare", "viewfinder"):
        from viewfinder.training.runtime import configure_threads

        configure_threads()
    before = matmul_rate()
    result = ways[way](network, arrays, limit, setting)
    return {**result, "memory": peak_memory(), "gflops": (before + matmul_rate()) / 2}


def peak_memory() -> int:
    """Return the peak memory in MB; getrusage would include the parent's."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return round(int(line.split()[1]) / 1024)


def matmul_rate() -> float:
    """Return torch's present rate of float32 matrix multiplication in GFLOP/s."""
    import torch

    size = 1024 if DEVICE == "cpu" else 8192
    square = torch.rand(size, size, device=DEVICE)
    rates = []
    for _ in range(6):
        started = time.perf_counter()
        torch.mm(square, square)
        synchronize()
        rates.append(2 * size**3 / (time.perf_counter() - started) / 1e9)
    return statistics.median(rates[1:])


def synchronize() -> None:
    import torch

    if DEVICE != "cpu":
        torch.cuda.synchronize()


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
    """Data set like torchvision's CIFAR10: a Pillow image for each index, converted to a tensor by a transform."""

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
    from array_images import load_arrays
    from torch.utils.data import DataLoader, random_split

    everything: Any = Tutorial(*load_arrays(arrays, limit + limit // 4), large=name == "resnet50")
    train, val = random_split(everything, (0.8, 0.2), torch.Generator().manual_seed(0))
    return (
        DataLoader(train, BATCH, shuffle=True, num_workers=workers),
        DataLoader(val, BATCH, num_workers=workers),
    )


def tutorial(name: str, arrays: Path, limit: int, setting: list[int], max_steps: int | None = None) -> dict[str, Any]:
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
        for number, (images, labels) in enumerate(train):
            images, labels = images.to(DEVICE), labels.to(DEVICE)
            optimizer.zero_grad()
            logits = network(images)
            loss = loss_function(logits, labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
            if number == max_steps:
                return {"seconds": time.perf_counter() - started}
        network.eval()
        right = 0
        with torch.no_grad():
            for images, labels in val:
                images, labels = images.to(DEVICE), labels.to(DEVICE)
                logits = network(images)
                total += loss_function(logits, labels).item()
                right += (logits.argmax(1) == labels).sum().item()
    return {"seconds": time.perf_counter() - started, "accuracy": right / len(val.dataset)}


def find_setting(name: str, arrays: Path, limit: int, setting: None) -> dict[str, Any]:
    """Find the fastest (workers, threads) for the tutorial's way by a few steps of each, twice."""
    cores = os.cpu_count() or 1
    options = [[workers, threads] for workers in (0, 1, cores) for threads in (1, cores)]
    max_steps = {"resnet50": 3, "custom_cnn": 40}.get(name, 150)
    if DEVICE != "cpu":  # otherwise starting the workers would take most of the time
        options, max_steps = [[workers, cores] for workers in (0, 4, cores)], {"resnet50": 50}.get(name, 1_000)
    seconds = {
        str(option): [tutorial(name, arrays, limit, option, max_steps)["seconds"] for _ in range(2)]
        for option in options
    }
    return {"best": min(options, key=lambda option: min(seconds[str(option)])), "tried": seconds, "seconds": 0.0}


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
            images, labels = batch
            logits = self.network(images)
            loss = torch.nn.functional.cross_entropy(logits, labels)
            self.train_accuracy(logits, labels)
            self.log("train_loss", loss, prog_bar=True)
            self.log("train_accuracy", self.train_accuracy, on_step=True, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            images, labels = batch
            logits = self.network(images)
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
    """Return Viewfinder's data over images that are already decoded."""
    from array_images import ArrayImages

    data = ArrayImages(folder=str(arrays), count=limit + limit // 4, batch_size=BATCH, val_fraction=0.2)
    data.open()
    return data


def bare(name: str, arrays: Path, limit: int, setting: None) -> dict[str, Any]:
    """Train without Lightning, metrics, TensorBoard, checkpoints and progress bar."""
    import torch

    from viewfinder.config.overrides import compose_config
    from viewfinder.experiment.build import build_network
    from viewfinder.training.precision import choose_precision, forward_context, set_tf32
    from viewfinder.training.runtime import keep_freed_memory, skip_gpu_checks

    keep_freed_memory()
    skip_gpu_checks()
    device = torch.device(DEVICE)
    torch.manual_seed(0)
    cfg = compose_config(overrides_for(name))
    network: Any = build_network(cfg, 3, 10).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    precision, _ = choose_precision(network, device)
    set_tf32(precision == "tf32")
    data = open_arrays(arrays, limit)
    preprocess = network.preprocess
    data.load(preprocess.image_size)
    data.move_to_device(device)
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


def overrides_for(name: str) -> list[str]:
    return [
        f"model={name}",
        "trainer=cpu" if DEVICE == "cpu" else "trainer=gpu",
        f"trainer.max_epochs={EPOCHS}",
        *["model.weights=null"] * (name == "resnet50"),
    ]


def viewfinder(name: str, arrays: Path, limit: int, setting: None) -> dict[str, Any]:
    """Call run_experiment with every file, chart and metric."""
    from viewfinder.config.overrides import compose_config
    from viewfinder.experiment.python_objects import PythonObjects, record_objects
    from viewfinder.experiment.run import run_experiment

    objects = PythonObjects(data=open_arrays(arrays, limit))
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ):
        if name == "resnet50":  # otherwise an earlier round's features would be reused
            os.environ["XDG_CACHE_HOME"] = folder
        cfg = compose_config([*overrides_for(name), f"run_dir={folder}/run"])
        record_objects(cfg, objects, ())
        scores = run_experiment(cfg, objects=objects).read_scores()
        facts = json.loads((Path(folder) / "run" / "run.json").read_text())
    network = facts["network"]
    backward = 2 if network["trained"] == network["parameters"] else 0  # frozen: only the head's
    flops = 2 * network["multiply_adds"] * ((1 + backward) * WHOLE + WHOLE // 4)
    features = facts.get("features")
    once = (limit + limit // 4) / features["pictures_per_second"] if features else 0.0
    return {
        "seconds": once + facts["epoch_seconds"][-1], "accuracy": scores["last"]["val"]["accuracy"], "flops": flops,
        "device": facts["device"], "precision": facts["precision"],
    }  # fmt: skip
