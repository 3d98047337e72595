"""Runs that are killed at random moments and resumed, compared with an undisturbed run.

    python tests/stress/crashes.py --count 100 --seed 1
    python tests/stress/crashes.py --count 10 --workers 2        images decoded by worker processes
    python tests/stress/crashes.py --count 10 --processes 2      DistributedDataParallel on the CPU
    python tests/stress/crashes.py --count 30 --recipes          averages, Lookahead, several optimizers, freezing

Each run is forked from this process, which has imported everything, and killed with SIGKILL: after an optimizer step,
during validation, while features are computed, or at an operation on a file of the run folder, which may lose any part
of what was written since the last fsync. It is resumed, and perhaps killed again, until it ends. It must then equal the
undisturbed run bit for bit: weights, optimizer, metrics.csv, predictions.csv, scores.json and TensorBoard data.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[reportPrivateImportUsage]
from torch.optim.optimizer import register_optimizer_step_post_hook

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from conftest import paint

from viewfinder.config.overrides import compose_config
from viewfinder.experiment.resume import resume_experiment
from viewfinder.experiment.run import run_experiment
from viewfinder.runs.folder import RunFolder
from viewfinder.training.classifier import Classifier
from viewfinder.training.features import extract as passing
from viewfinder.training.features.store import FeatureStore

KINDS = ("step", "validation", "features", "file")
AUGMENTED = ["augment=basic", "augment.padding=1"]
MIXED = [
    "augment=[alternating_flip,crop,cutout,color_jitter,trivial_augment,random_erasing,mixup,cutmix]",
    "augment.crop.border=reflect", "augment.mixup.probability=0.5",
]  # fmt: skip
PHASES = ["phases=fine_tune", "phases.head.epochs=1", "phases.fine_tune.layer_decay=0.5"]
SETTINGS = (
    [*MIXED, "scheduler=one_cycle", "trainer.checkpoint_every=3"],
    [*PHASES, "scheduler=one_cycle", "trainer.checkpoint_every=3"],
    [*AUGMENTED, "scheduler=plateau", "scheduler.patience=0", "trainer.checkpoint_every=1",
     "trainer.accumulate_grad_batches=3"],
    [*AUGMENTED, *PHASES, "optimizer=sgd", "optimizer.lr=0.01", "scheduler=step", "scheduler.every=1",
     "trainer.checkpoint_every=null"],
    [*AUGMENTED, "trainer.early_stopping_patience=1", "trainer.max_epochs=6", "trainer.precision=bf16-mixed"],
)  # fmt: skip
"""Settings of the runs in turn. The last two save by the clock, that is, hardly ever."""
RECIPE = [
    *MIXED, "loss.label_smoothing=0.2", "optimizer=sgd", "optimizer.lr=0.02",
    "parameter_groups=[no_decay,bias_lr,muon]", "parameter_groups.biases.lr_factor=8",
    "+parameter_groups.first={match: [features.0.0], epochs: 2}", "lookahead=ramped", "lookahead.steps=3",
    "scheduler=triangle", "trainer.gradient_clip_val=0.5", "trainer.gradient_clip_algorithm=value",
    "trainer.checkpoint_every=2",
]  # fmt: skip
"""Everything that a recipe may use together, but for the average of its weights."""
RECIPES = (
    [*RECIPE, "averaging=ema", "averaging.decay=0.9"],
    [*RECIPE, "averaging=swa", "averaging.start=0.3", "trainer.accumulate_grad_batches=2"],
    [*RECIPE, "averaging=ema", "averaging.every=epoch", "averaging.warmup=false", "trainer.precision=bf16-mixed"],
)  # fmt: skip
"""Settings of the runs in turn with --recipes."""
SHORT = [
    "model=custom_cnn", "model.widths=[4,8]", "model.hidden=[16]", "model.image_size=8", "data=image_folder",
    "data.batch_size=4", "trainer=cpu", "trainer.precision=32-true", "trainer.threads=1", "trainer.max_epochs=3",
    "trainer.progress_bar=false",
]  # fmt: skip


class Kill(NamedTuple):
    """The moment at which a process is killed: the n-th of its kind."""

    kind: str
    moment: int
    seed: int


class Killer:
    """Counter of a process's moments that kills it at one of them."""

    def __init__(self, folder: Path, kill: Kill | None):
        self.folder, self.kill = str(folder), kill
        self.seen: Counter[str] = Counter()
        self.fsync = os.fsync
        self.safe: dict[int, tuple[int, int]] = {}
        """inode -> modification time and size at the last fsync"""

    def watch(self) -> None:
        register_optimizer_step_post_hook(lambda *_: self.at("step"))
        evaluate = Classifier.step

        def step(module: Classifier, batch: Any, split: str) -> Tensor:
            if split == "val":
                self.at("validation")
            return evaluate(module, batch, split)

        Classifier.step = step  # type: ignore[method-assign]
        append = FeatureStore.append

        def keep(kept: FeatureStore, rows: Tensor) -> None:
            self.at("features")
            append(kept, rows)

        FeatureStore.append = keep  # type: ignore[method-assign]
        os.fsync = self._fsync
        sys.addaudithook(self._audit)

    def at(self, kind: str, file: int | None = None) -> None:
        self.seen[kind] += 1
        if self.kill is not None and (self.kill.kind, self.kill.moment) == (kind, self.seen[kind]):
            if file is not None:
                size = os.fstat(file).st_size
                _, kept = self.safe.get(os.fstat(file).st_ino, (0, 0))
                # Only TensorBoard's events grow in place; any other new file may reuse an inode.
                kept = kept if "tfevents" in str(Path(f"/proc/self/fd/{file}").readlink()) else 0
                os.ftruncate(file, random.Random(self.kill.seed).randint(min(kept, size), size))
            os.kill(os.getpid(), signal.SIGKILL)

    def _fsync(self, file: int) -> None:
        path, state = Path(f"/proc/self/fd/{file}"), os.fstat(file)
        if str(path.readlink()).startswith(self.folder) and path.is_file():
            is_safe = self.safe.get(state.st_ino) == (state.st_mtime_ns, state.st_size)
            self.at("file", None if is_safe else file)
        self.fsync(file)
        self.safe[state.st_ino] = (state.st_mtime_ns, state.st_size)

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in ("os.rename", "os.link", "os.remove")) and str(args[0]).startswith(self.folder):
            self.at("file")


class Setting:
    """Runs of one setting, with the undisturbed run and its number of moments of each kind."""

    def __init__(self, root: Path, overrides: list[str], processes: int):
        self.root, self.overrides, self.processes = root, overrides, processes
        self.folder = root / "whole"
        statuses = self.run(self.folder, None)
        assert statuses == [0] * processes, f"{statuses}\n{(root / 'whole.out').read_text()}"
        self.moments = {kind: int((root / f"whole.{kind}").read_text()) for kind in KINDS}

    def run(self, folder: Path, kill: Kill | None) -> list[int]:
        """Train or resume until the run ends or is killed, and return the exit status of each process."""
        begun = (folder / "config.yaml").is_file() and (folder / "run.json").is_file()
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) if self.processes > 1 else None
        doomed = random.Random(kill.seed).randrange(self.processes) if kill else 0
        children = []
        for rank in range(self.processes):
            child = os.fork()
            if not child:
                if store is not None:
                    set_torchrun_environment(rank, self.processes, store.port)
                self._child(folder, begun, kill if rank == doomed else None)
            children.append(child)
        statuses: dict[int, int] = {}
        while len(statuses) < len(children):
            child, status = os.wait()
            statuses[child] = os.waitstatus_to_exitcode(status)
            if statuses[child] and len(statuses) == 1:  # as if the machine had died
                for other in children:
                    if other not in statuses:
                        os.kill(other, signal.SIGKILL)
        return list(statuses.values())

    def _child(self, folder: Path, begun: bool, kill: Kill | None) -> None:
        with (self.root / f"{folder.name}.out").open("a") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        code = 1
        try:
            torch.set_num_threads(1)
            os.environ["XDG_CACHE_HOME"] = f"{folder}.cache"
            passing.BATCH["cpu"] = 4
            killer = Killer(folder, kill)
            killer.watch()
            if begun:
                resume_experiment(RunFolder.open(folder))
            else:
                if folder.exists():  # killed before the run was created
                    for file in folder.iterdir():
                        file.unlink()
                    folder.rmdir()
                typed = [*self.overrides, f"run_dir={folder}"]
                run_experiment(compose_config(typed), overrides=typed)
            code = 0
            if kill is None and not begun:
                for kind in KINDS:
                    (self.root / f"{folder.name}.{kind}").write_text(str(killer.seen[kind]))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)


def set_torchrun_environment(rank: int, processes: int, port: int) -> None:
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "crashes", "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip


def read_outcome(folder: Path) -> dict[str, Any]:
    """Return everything about a run that kills must not change."""
    names = ["metrics.csv", "predictions.csv", "scores.json", *(path.name for path in folder.glob("projector*"))]
    found: dict[str, Any] = {name: (folder / name).read_bytes() for name in names}
    for name in ("best.ckpt", "last.ckpt"):
        stored = torch.load(folder / name, weights_only=True)
        kept = {
            key: stored.get(key, {}) for key in ("state_dict", "trained_weights", "optimizer_states", "lr_schedulers")
        }
        others = {key: state for key, state in stored["callbacks"].items() if key != "Recorder"}  # which has times
        found[name] = flatten(kept | {"callbacks": others})
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    found["curves"] = {
        tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }
    found["pictures"] = {
        tag: [(each.step, each.encoded_image_string) for each in events.Images(tag)] for tag in events.Tags()["images"]
    }
    found["phases"] = [
        (each.step, each.tensor_proto.string_val) for tag in events.Tags()["tensors"] for each in events.Tensors(tag)
    ]
    found["files"] = sorted(path.name for path in folder.iterdir() if "tfevents" not in path.name)
    return found


def flatten(value: Any, path: str = "") -> dict[str, Any]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else None
    if items is None:
        return {path: value.numpy().tobytes() if isinstance(value, Tensor) else value}
    return {name: leaf for key, inner in items for name, leaf in flatten(inner, f"{path}/{key}").items()}


def run_with_kills(setting: Setting, folder: Path, rng: random.Random) -> tuple[list[str], str]:
    """Kill a run at least once and resume it to its end.

    Returns:
        The kills, and the parts that differ from the undisturbed run.
    """
    kills: list[str] = []
    while True:
        kind = rng.choice([kind for kind in KINDS if setting.moments[kind]])
        kill = Kill(kind, rng.randint(1, setting.moments[kind]), rng.randrange(2**32))
        statuses = setting.run(folder, kill if not kills or rng.random() < 0.5 else None)
        if statuses == [0] * setting.processes:
            break
        if -signal.SIGKILL not in statuses:
            return kills, f"ended with {statuses}; see {folder}.out"
        kills.append(f"{kind} {kill.moment}")
        if (folder / "run.json").is_file() and RunFolder.open(folder).status == "finished":
            break  # killed after this was written
    ours, theirs = read_outcome(folder), read_outcome(setting.folder)
    return kills, ", ".join(name for name in theirs if ours[name] != theirs[name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="number of runs (default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the moments of the kills (default: 1)")
    parser.add_argument("--workers", type=int, default=0, help="number of processes that decode images")
    parser.add_argument("--processes", type=int, default=1, help="number of processes of DistributedDataParallel")
    parser.add_argument("--recipes", action="store_true", help="train by recipes of many pieces")
    args = parser.parse_args()
    rng, root = random.Random(args.seed), Path(tempfile.mkdtemp(prefix="crashes-"))
    overrides = [*SHORT, f"data.root={paint(root / 'pictures', seed=1)}"]
    if args.workers:
        overrides += ["data.storage=stream", f"data.workers={args.workers}"]
    if args.processes > 1:
        overrides += ["trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={args.processes}"]
    started, killed, different = time.monotonic(), Counter(), 0
    settings_in_turn: list[Setting] = []
    for number, settings in enumerate((RECIPES if args.recipes else SETTINGS)[: args.count]):
        (root / str(number)).mkdir()
        settings_in_turn.append(Setting(root / str(number), [*overrides, *settings], args.processes))
    for number in range(args.count):
        setting = settings_in_turn[number % len(settings_in_turn)]
        kills, difference = run_with_kills(setting, setting.root / f"run{number}", rng)
        killed.update(kill.split()[0] for kill in kills)
        different += bool(difference)
        if difference:
            print(f"run {number}: after {', '.join(kills)}: {difference}", flush=True)
    print(
        f"{args.count - different} of {args.count} bit-identical after {killed.total()} kills "
        f"({', '.join(f'{killed[kind]} in {kind}' for kind in KINDS)}), {time.monotonic() - started:.0f} s; {root}"
    )
    raise SystemExit(different > 0)


if __name__ == "__main__":
    main()
