"""An experiment's recipe as a loop written by hand, as a reference for the time and the accuracy of Viewfinder.

    python bench/by_hand.py custom_cnn data=digits trainer.max_epochs=2

The loop uses the experiment's network, loss, optimizer, schedule and augmentation, and nothing else: all images are on
the device, and each epoch is a random permutation of them. There are no metrics but the validation accuracy, no files
and no checkpoints. Prints a JSON line; `ignored` names the settings that the loop does not know.
"""

import argparse
import contextlib
import json
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from viewfinder.config.flatten import flatten, is_neutral
from viewfinder.config.overrides import compose_config
from viewfinder.config.yaml_text import to_settings
from viewfinder.data.batches import Batch
from viewfinder.experiment.build import build_components
from viewfinder.training.losses import compute_loss
from viewfinder.training.parameter_groups import ParameterGroups
from viewfinder.training.precision import forward_context, resolve_precision, set_tf32

KNOWN_GROUPS = ("seed", "data", "model", "loss", "optimizer", "parameter_groups", "lookahead", "scheduler", "augment")
KNOWN_KEYS = (
    "_target_", "max_epochs", "accelerator", "precision", "threads", "gradient_clip_val",
    "gradient_clip_algorithm", "devices", "num_nodes",
    "deterministic",
)  # fmt: skip
"""Keys of the group `trainer` that the loop applies, or that do not matter to it."""
VAL_BATCH = 1024


def train_by_hand(words: list[str]) -> dict[str, Any]:
    """Train with overrides as of train.py, and return seconds of all epochs, validation accuracy and ignored keys."""
    cfg = compose_config(words)
    settings, components = to_settings(cfg), build_components(cfg)
    options, classifier, data = settings["trainer"], components.classifier, components.data
    is_gpu = torch.cuda.is_available() and options["accelerator"] != "cpu"
    device = torch.device("cuda" if is_gpu else "cpu")
    network, loss_function = classifier.network.to(device), classifier.loss.to(device)
    precision = options["precision"]
    if precision == "auto":
        precision, _ = resolve_precision(network, device, options, False)
    set_tf32(precision == "tf32")
    splits = {name: gather_all(data.images[name], device) for name in ("train", "val")}
    pixels, labels = splits["train"]
    batch_size, epochs = data.batch_size, options["max_epochs"]
    steps = -(-len(labels) // batch_size)
    assert classifier.make_optimizer is not None
    optimizer = classifier.make_optimizer([p for p in network.parameters() if p.requires_grad])
    schedule: Any = classifier.make_schedule(optimizer, steps * epochs) if classifier.make_schedule else None
    generator = torch.Generator(device).manual_seed(settings["seed"])
    limit = options["gradient_clip_val"]
    clip = clip_grad_norm_ if options["gradient_clip_algorithm"] == "norm" else clip_grad_value_
    frozen = ParameterGroups(settings.get("parameter_groups"), network, settings["optimizer"]).epochs
    lookahead = settings.get("lookahead") or {"steps": 0, "alpha": 1.0, "ramp": 0.0}
    slow = SlowWeights(network, steps * epochs, **{key: lookahead[key] for key in ("steps", "alpha", "ramp")})
    synchronize(device)
    started, accuracies = time.perf_counter(), []
    for epoch in range(epochs):
        network.train()
        for name, parameter in network.named_parameters():
            if frozen.get(name, epochs) <= epoch:
                parameter.requires_grad_(False)
        order = torch.randperm(len(labels), generator=generator, device=device)
        for number, rows in enumerate(order.split(batch_size)):
            batch = Batch(pixels[rows], labels[rows], rows, number)
            if data.augment is not None:
                batch = data.augment.at(epoch, epochs)(batch)
            with forward_context(precision, device):
                logits = network(classifier.preprocess(batch.pixels, is_resized=batch.is_resized))
                loss, _ = compute_loss(loss_function, logits, batch)
            loss.backward()
            if limit:
                clip(network.parameters(), limit)
            optimizer.step()
            optimizer.zero_grad()
            if schedule and schedule["interval"] == "step":
                schedule["scheduler"].step()
            slow.update()
        slow.swap()
        accuracies.append(measure_accuracy(classifier, *splits["val"]))
        slow.swap()
        if schedule and schedule["interval"] == "epoch":
            with contextlib.suppress(TypeError):  # ReduceLROnPlateau requires a loss
                schedule["scheduler"].step()
    synchronize(device)
    return {
        "seconds": time.perf_counter() - started, "accuracy": max(accuracies), "precision": precision,
        "ignored": list_ignored(settings),
    }  # fmt: skip


class SlowWeights:
    """Slow weights of Lookahead, with the arguments of viewfinder.training.lookahead.Lookahead; 0 steps for none."""

    def __init__(self, network: nn.Module, total: int, steps: int, alpha: float, ramp: float):
        self.fast = [value for value in network.state_dict().values() if value.is_floating_point()]
        self.slow = [value.clone() for value in self.fast]
        self.total, self.steps, self.alpha, self.ramp, self.number = total, steps, alpha, ramp, 0

    @torch.no_grad()
    def update(self) -> None:
        """Move the slow weights after an optimizer step if it is their turn, and start anew from there."""
        self.number += 1
        if self.steps and self.number % self.steps == 0:
            alpha = 1 - (1 - self.alpha) * (self.number / self.total) ** self.ramp
            for slow, fast in zip(self.slow, self.fast, strict=True):
                fast.copy_(slow.lerp_(fast, alpha))

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange fast and slow weights, for a validation."""
        if self.steps:
            kept = [value.clone() for value in self.fast]
            for slow, fast in zip(self.slow, self.fast, strict=True):
                fast.copy_(slow)
            self.slow = kept


def gather_all(images: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return all images of a split, (N, C, H, W) uint8 in channels_last, and labels, (N,), on a device."""
    pixels, labels = images.gather(torch.arange(len(images)))
    return pixels.to(device).contiguous(memory_format=torch.channels_last), labels.to(device)


def measure_accuracy(classifier: Any, pixels: Tensor, labels: Tensor) -> float:
    classifier.network.eval()
    set_tf32(False)
    with torch.inference_mode():
        parts = [classifier(part).argmax(1) for part in pixels.split(VAL_BATCH)]
    return (torch.cat(parts) == labels).double().mean().item()


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def list_ignored(settings: Mapping[str, Any]) -> list[str]:
    """Return the keys that have a value, could change a score, and are unknown to this loop."""
    unknown = []
    for key, value in flatten(settings).items():
        group, _, rest = key.partition(".")
        is_known = group in KNOWN_GROUPS or (group == "trainer" and rest in KNOWN_KEYS)
        if not (is_known or is_neutral(key) or value in (None, False, "auto", 1, [], {})):
            unknown.append(key)
    return unknown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment")
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE")
    args = parser.parse_args()
    print(json.dumps(train_by_hand([f"experiment={args.experiment}", *args.words])))


if __name__ == "__main__":
    main()
