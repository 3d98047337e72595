"""The Lightning trainer that the keys of the trainer group describe."""

import logging
import warnings
from typing import Annotated, Any, Literal

import pytorch_lightning as pl
import torch
from pydantic import Field
from pytorch_lightning.callbacks import Callback, Checkpoint, early_stopping

from viewfinder.config.validate import Count, Positive, Whole
from viewfinder.errors import Problem, UserError
from viewfinder.runs.checkpoints import CheckpointIO
from viewfinder.training.callbacks.progress import Progress
from viewfinder.training.loop import TrainingLoop
from viewfinder.training.precision import HALF, TF32

log = logging.getLogger("viewfinder")
Every = Count | Annotated[str, Field(pattern=r"^[0-9]*\.?[0-9]+min$")]
"""Steps, or minutes with their unit."""
EMBEDDINGS = 1000
"""Test pictures in TensorBoard's projector, where a configuration does not say how many."""


class EarlyStopping(early_stopping.EarlyStopping):
    """Lightning's, which says so when it stops a training; where that has phases, in the last of them alone."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if pl_module.phases is None or pl_module.phases.is_last(trainer.current_epoch):
            super().on_train_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.stopped_epoch and trainer.current_epoch != trainer.max_epochs:
            epochs = f"{self.patience} epoch{'s' * (self.patience > 1)}"
            where = " of the last phase" if pl_module.phases is not None else ""
            log.info(f"stopped  early: no better {self.monitor} for {epochs}{where}")


def build_trainer(
    max_epochs: Count = 10,
    accelerator: Literal["auto", "cpu", "gpu"] = "auto",
    devices: Count | Literal["auto"] = 1,
    precision: Literal["auto", "32-true", "tf32", "bf16-mixed", "16-mixed"] = "auto",
    cuda_graph: Literal["auto", "always", "never"] = "auto",
    gradient_clip_val: Positive | None = None,
    accumulate_grad_batches: Count = 1,
    early_stopping_patience: Count | None = None,
    deterministic: bool = False,
    progress_bar: bool = True,
    limit_batches: Annotated[int, Field(ge=1)] | None = None,
    threads: Count | None = None,
    keep_freed_memory: bool = True,
    checkpoint_every: Every | None = None,
    embeddings: Whole = EMBEDDINGS,
    callbacks: list[Callback] | None = None,
) -> pl.Trainer:
    """A trainer without Lightning's own logger, bar and checkpoints: those are `callbacks`.

    Args:
        max_epochs: passes over the training pictures.
        accelerator: auto takes a GPU where there is one.
        devices: GPUs, or processes on a CPU; more than one means DistributedDataParallel.
        precision: of training, as Lightning names it, or tf32, a GPU's float32 of fewer bits; auto takes what is
            faster here by a clear margin, and 32-true with `deterministic` or several devices. Evaluation is always in
            32-true.
        cuda_graph: launch a training step's operations on a GPU at once, where one process trains, not
            `deterministic`, without accumulation; auto leaves out networks with layers of other packages, which may
            decide something in Python, and always does not; set by `run_experiment`.
        gradient_clip_val: largest norm of all gradients together.
        accumulate_grad_batches: batches an optimizer step.
        early_stopping_patience: stop after so many epochs without a better val/accuracy; with phases, of the last.
        deterministic: let torch refuse or replace operations whose result varies from run to run.
        progress_bar: draw one, on a terminal.
        limit_batches: at most so many batches an epoch of each split; read by `run_experiment`.
        threads: of torch on a CPU; None takes one a core, or fewer where that is faster by a clear margin; set by
            `run_experiment`.
        keep_freed_memory: with glibc, do not give the system what the next step needs; set by `run_experiment`.
        checkpoint_every: steps, or minutes as in "10min", between checkpoints within an epoch; read by
            `run_experiment`.
        embeddings: test pictures in TensorBoard's projector, at most; read by `run_experiment`.

    Raises:
        UserError: if there is no such device here, or it cannot do this precision.
    """
    check_device(accelerator, devices, precision)
    has_gpu = torch.cuda.is_available()  # a Mac's own kind has no float64, in which scores are computed
    progress = Progress(progress_bar)
    extra: list[Callback] = [TrainingLoop(precision, gradient_clip_val, accumulate_grad_batches, progress), progress]
    if early_stopping_patience is not None:
        extra += [EarlyStopping("val/accuracy", mode="max", patience=early_stopping_patience, min_delta=0.0)]
    quiet_lightning()
    return pl.Trainer(
        max_epochs=max_epochs,
        accelerator="cuda" if accelerator == "gpu" or (accelerator == "auto" and has_gpu) else "cpu",
        devices=devices,
        strategy="auto" if devices == 1 else "ddp",
        deterministic=deterministic,
        callbacks=[*extra, *(callbacks or [])],
        plugins=[CheckpointIO()],
        logger=False,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks or []),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def check_device(accelerator: str, devices: int | str, precision: str) -> None:
    """Raises UserError if this machine has no such device, or fewer."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if accelerator == "gpu" and not gpus:
        built = "" if torch.version.cuda else " (this build of torch has no CUDA either)"
        rule = f"no GPU that torch can use was found{built}"
        remedy = "Use trainer=cpu, or trainer=default, which takes a GPU only where there is one."
        raise UserError("the machine", [Problem("trainer.accelerator", rule, accelerator, remedy)])
    if isinstance(devices, int) and gpus and accelerator != "cpu" and devices > gpus:
        rule = f"this machine has {gpus} GPU{'s' * (gpus > 1)}"
        raise UserError("the machine", [Problem("trainer.devices", rule, str(devices), "Ask for at most that.")])
    if precision == TF32 and (accelerator == "cpu" or not gpus):
        rule, remedy = "is a GPU's kind of float32", "Use trainer.precision=32-true or bf16-mixed."
        raise UserError("the machine", [Problem("trainer.precision", rule, precision, remedy)])
    if precision == HALF and (accelerator == "cpu" or not gpus):
        rule = "needs a GPU: half precision on a CPU is many times slower than 32-true"
        remedy = "Use trainer.precision=32-true or bf16-mixed."
        raise UserError("the machine", [Problem("trainer.precision", rule, precision, remedy)])


def loop_of(trainer: pl.Trainer) -> TrainingLoop:
    """The loop that build_trainer gave it."""
    (loop,) = (callback for callback in trainer.callbacks if isinstance(callback, TrainingLoop))  # type: ignore[attr-defined]
    return loop


def quiet_lightning() -> None:
    """Leave what Lightning says of itself at warnings, and those that are about our own choices unsaid."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        "The .*dataloader.* does not have many workers",  # pictures are in memory: workers would only cost
        "GPU available but not used",  # trainer=cpu says so itself
        "Trying to infer the `batch_size`",
        "You are trying to `self.log..` but the `trainer` reference is not registered",
        "Found .* module.* in eval mode at the start of training",  # a frozen network is
        "It is recommended to use .self.log.*sync_dist=True",  # what is logged is of all processes already
        ".*`isinstance.treespec, LeafSpec.` is deprecated",  # Lightning's own use of torch
    ):
        warnings.filterwarnings("ignore", message)
