"""Cost of parameter groups, optimizers, schedules and averages of weights, in percent of a training step.

    python bench/optimization.py PICTURES                        simple_cnn and custom_cnn on the CPU
    python bench/optimization.py PICTURES --networks simple_cnn --accelerator gpu

PICTURES contains train/<class>/. Each piece trains in turn with the others, round after round, so that other load on
the machine affects all of them. A piece is compared by its median step with SGD alone, in the same rounds: the
processor time of one thread, or the time of the GPU.
"""

import argparse
import logging
import statistics
import tempfile
import time
from typing import Any

import torch

from viewfinder.config.instantiate import instantiate
from viewfinder.config.overrides import compose_config
from viewfinder.config.yaml_text import to_settings
from viewfinder.experiment.build import Components, build_components
from viewfinder.training.batch_norm import recompute_batch_norm
from viewfinder.training.callbacks.step_callback import StepCallback
from viewfinder.training.trainer import get_training_loop

PIECES: dict[str, list[str]] = {
    "SGD": [],
    "AdamW": ["optimizer=adamw"],
    "no_decay": ["parameter_groups=no_decay"],
    "Muon on convolutions": ["parameter_groups=muon"],
    "triangle": ["scheduler=triangle"],
    "cosine": ["scheduler=cosine"],
    "clip by norm": ["trainer.gradient_clip_val=1.0"],
    "clip by value": ["trainer.gradient_clip_val=1.0", "trainer.gradient_clip_algorithm=value"],
    "Lookahead": ["lookahead=constant"],
    "EMA each step": ["averaging=ema"],
    "SWA each step": ["averaging=swa", "averaging.start=0", "averaging.every=step"],
    "all": [
        "parameter_groups=muon", "scheduler=triangle", "trainer.gradient_clip_val=1.0", "lookahead=constant",
        "averaging=ema",
    ],
}  # fmt: skip
WARM_UP = 5
"""Steps of a round before the first that counts."""


class Stopwatch(StepCallback):
    """Callback that records the seconds of each step."""

    def __init__(self, is_on_gpu: bool):
        self.times: list[float] = []
        self.is_on_gpu = is_on_gpu

    def on_step_end(self, trainer: Any, pl_module: Any, is_epoch_over: bool) -> None:
        if self.is_on_gpu:
            torch.cuda.synchronize()
        self.times.append(time.perf_counter() if self.is_on_gpu else time.process_time())

    def seconds(self) -> list[float]:
        return [after - before for before, after in zip(self.times[WARM_UP:], self.times[WARM_UP + 1 :], strict=False)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures")
    parser.add_argument("--networks", nargs="+", default=["simple_cnn", "custom_cnn"])
    parser.add_argument("--accelerator", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40, help="steps of a piece in a round (default: 40)")
    parser.add_argument("--batch-size", type=int, default=128)
    args = parser.parse_args()
    logging.disable()
    print("| a step | " + " | ".join(args.networks) + " |")
    print("|---" * (len(args.networks) + 1) + "|")
    columns = [measure(network, args) for network in args.networks]
    for piece in columns[0]:
        print(f"| {piece} | " + " | ".join(column[piece] for column in columns) + " |")


def measure(network: str, args: argparse.Namespace) -> dict[str, str]:
    """Return the cost of each piece in percent of a step by SGD, and the seconds of that."""
    words = [
        f"model={network}", "optimizer=sgd", "optimizer.lr=0.01", "data=image_folder", f"data.root={args.pictures}",
        f"data.limit={(args.steps + WARM_UP + 1) * args.batch_size}", f"data.batch_size={args.batch_size}",
        f"trainer={args.accelerator}", "trainer.max_epochs=1", "trainer.progress_bar=false",
        f"trainer.limit_batches={args.steps + WARM_UP}", f"run_dir={tempfile.gettempdir()}/unused",
    ]  # fmt: skip
    settings = {piece: compose_config([*words, *own]) for piece, own in PIECES.items()}
    components = {piece: build_components(cfg) for piece, cfg in settings.items()}
    seconds: dict[str, list[float]] = {piece: [] for piece in PIECES}
    passes = []
    for _ in range(args.rounds):
        for piece, cfg in settings.items():
            stopwatch = Stopwatch(args.accelerator == "gpu")
            trainer = train(to_settings(cfg)["trainer"], components[piece], stopwatch)
            seconds[piece] += stopwatch.seconds()
            if piece == "SWA each step":
                started = time.process_time()
                with torch.inference_mode():
                    recompute_batch_norm(trainer, components[piece].classifier)
                passes.append((time.process_time() - started) / (args.steps + WARM_UP))
    base, *others = (statistics.median(values) for values in seconds.values())
    costs = {piece: f"{100 * (cost / base - 1):+.1f}%" for piece, cost in zip([*PIECES][1:], others, strict=True)}
    recompute = f"{100 * statistics.median(passes) / base:+.1f}% of an epoch"
    return {"SGD": f"{1000 * base:.1f} ms", **costs, "batch norm of SWA, each epoch": recompute}


def train(options: dict[str, Any], components: Components, stopwatch: Stopwatch) -> Any:
    """Train for one epoch without validation."""
    trainer = instantiate(options, "trainer", callbacks=[*components.callbacks, stopwatch])
    trainer.limit_val_batches = 0
    torch.set_num_threads(1)
    get_training_loop(trainer).precision = "32-true"
    components.data.move_to_device(trainer.strategy.root_device)
    trainer.fit(components.classifier, datamodule=components.data)
    return trainer


if __name__ == "__main__":
    main()
