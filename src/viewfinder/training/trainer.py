"""Lightning trainer built from the trainer group."""

import logging
import os
import warnings
from typing import Annotated, Any, Literal

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pydantic import Field
from pytorch_lightning.callbacks import Callback, Checkpoint, early_stopping

from viewfinder.config.validate import Count, Positive, Whole
from viewfinder.errors import Problem, UserError
from viewfinder.runs.checkpoints import CheckpointIO
from viewfinder.runs.launcher import is_distributed, read_place
from viewfinder.training.callbacks.progress import Progress
from viewfinder.training.compile import check_compile
from viewfinder.training.ddp import Strategy
from viewfinder.training.hardware import count_node_cores, max_threads
from viewfinder.training.loop import TrainingLoop
from viewfinder.training.precision import FP16, TF32
from viewfinder.training.sync_batch_norm import SyncLayers

log = logging.getLogger("viewfinder")
Interval = Count | Annotated[str, Field(pattern=r"^[0-9]*\.?[0-9]+min$")]
"""Steps, or minutes as in "10min"."""
EMBEDDINGS = 1000
"""Default number of test images in TensorBoard's projector."""


class EarlyStopping(early_stopping.EarlyStopping):
    """Early stopping that logs its stop, and acts in the last phase only."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if pl_module.phases is None or pl_module.phases.is_last_phase(trainer.current_epoch):
            super().on_train_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.stopped_epoch and trainer.current_epoch != trainer.max_epochs:
            epochs = f"{self.patience} epoch{'s' * (self.patience > 1)}"
            suffix = " of the last phase" if pl_module.phases is not None else ""
            log.info(f"stopped  early: no better {self.monitor} for {epochs}{suffix}")


def build_trainer(
    max_epochs: Count = 10,
    accelerator: Literal["auto", "cpu", "gpu"] = "auto",
    devices: Count | Literal["auto"] = 1,
    num_nodes: Count = 1,
    sync_batchnorm: bool = False,
    precision: Literal["auto", "32-true", "tf32", "bf16-mixed", "16-mixed"] = "auto",
    cuda_graph: Literal["auto", "always", "never"] = "auto",
    gradient_clip_val: Positive | None = None,
    gradient_clip_algorithm: Literal["norm", "value"] = "norm",
    accumulate_grad_batches: Count = 1,
    early_stopping_patience: Count | None = None,
    deterministic: bool = False,
    progress_bar: bool = True,
    limit_batches: Annotated[int, Field(ge=1)] | None = None,
    threads: Count | None = None,
    keep_freed_memory: bool = True,
    compile: bool = False,
    checkpoint_every: Interval | None = None,
    embeddings: Whole = EMBEDDINGS,
    callbacks: list[Callback] | None = None,
) -> pl.Trainer:
    """Build a trainer whose logging, progress bar and checkpoints are Viewfinder's callbacks.

    Settings marked * are applied by `run_experiment`.

    Args:
        max_epochs: passes over the training images.
        accelerator: auto uses a GPU if there is one.
        devices: number of GPUs of each node, or of processes on its CPU; more than one means DistributedDataParallel.
        num_nodes: number of nodes; more than one needs torchrun or srun.
        sync_batchnorm: let batch norm see the batches of all processes together.
        precision: precision of training, in Lightning's names, or tf32; auto* follows from hardware and network.
            Evaluation always runs in 32-true.
        cuda_graph: run each training step on a GPU as one CUDA graph*. auto requires that one process trains, that all
            layers are torch's, torchvision's or Viewfinder's, and that neither `deterministic` nor accumulation is
            set; always accepts layers of other packages.
        gradient_clip_val: maximum norm of all gradients together, or with the algorithm value, of each of their
            elements.
        gradient_clip_algorithm: norm or value.
        accumulate_grad_batches: batches per optimizer step.
        early_stopping_patience: stop after this many epochs without a better val/accuracy, counted in the last phase.
        deterministic: let torch reject or replace operations whose result varies from run to run.
        progress_bar: draw a progress bar, if the output is a terminal.
        limit_batches: maximum number of batches of each split per epoch*.
        threads: torch's threads on a CPU*; None uses one per core.
        keep_freed_memory: with glibc, keep freed memory for the next step*.
        compile: compile the forward and backward passes of training with torch.compile*; one device, not with
            `deterministic`.
        checkpoint_every: interval of checkpoints within an epoch*: steps, or minutes as in "10min".
        embeddings: maximum number of test images in TensorBoard's projector*.

    Raises:
        UserError: if this machine lacks the device, or the device lacks the precision.
    """
    check_device(accelerator, devices, precision)
    is_parallel = is_distributed(devices, num_nodes)
    check_threads(threads)
    has_gpu = torch.cuda.is_available()  # Apple's GPUs lack float64, which scores need
    progress = Progress(progress_bar)
    if gradient_clip_algorithm == "value" and gradient_clip_val is None:
        rule, remedy = "requires trainer.gradient_clip_val", "For example trainer.gradient_clip_val=0.5."
        raise UserError("the configuration", [Problem("trainer.gradient_clip_algorithm", rule, "value", remedy)])
    loop = TrainingLoop(precision, gradient_clip_val, accumulate_grad_batches, progress, gradient_clip_algorithm)
    extra: list[Callback] = [loop, progress]
    if early_stopping_patience is not None:
        extra += [EarlyStopping("val/accuracy", mode="max", patience=early_stopping_patience, min_delta=0.0)]
    is_on_gpu = accelerator == "gpu" or (accelerator == "auto" and has_gpu)
    if compile:
        check_compile(is_on_gpu, is_parallel, deterministic)
    quiet_lightning()
    return pl.Trainer(
        max_epochs=max_epochs,
        accelerator="cuda" if is_on_gpu else "cpu",
        devices=devices,
        num_nodes=num_nodes,
        strategy=Strategy() if is_parallel else "auto",
        deterministic=deterministic,
        callbacks=[*extra, *(callbacks or [])],
        plugins=[
            CheckpointIO(),
            make_environment(is_parallel),
            *([SyncLayers(is_on_gpu)] if is_parallel and sync_batchnorm else []),
        ],
        logger=False,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks or []),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def make_environment(is_parallel: bool) -> ClusterEnvironment:
    """Return the launcher of a trainer's processes; Lightning itself would guess one from the environment."""
    place = read_place() if is_parallel else None
    if place is not None and place.launcher == "torchrun":
        return TorchElasticEnvironment()
    if place is not None:
        # What Lightning requires, and srun sets only with options of these names.
        os.environ |= {"SLURM_NTASKS": str(place.world_size), "SLURM_NTASKS_PER_NODE": str(place.local_size)}
        os.environ["SLURM_NNODES"] = str(place.nodes)
        return SLURMEnvironment(auto_requeue=False)
    environment = LightningEnvironment()
    if not is_parallel:
        environment.set_global_rank(0)  # otherwise read from the environment when Lightning was imported
    return environment


def check_device(accelerator: str, devices: int | str, precision: str) -> None:
    """Check that this machine has the devices, and that they support the precision.

    Raises:
        UserError: if a device is missing or does not support the precision.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if accelerator == "gpu" and not gpus:
        built = "" if torch.version.cuda else " (this build of torch has no CUDA either)"
        if torch.version.cuda and (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
            built = f" (CUDA_VISIBLE_DEVICES is '{visible}')"
        rule = f"torch finds no GPU{built}"
        remedy = "Use trainer=cpu, or trainer=default, which uses a GPU only if there is one."
        raise UserError("the machine", [Problem("trainer.accelerator", rule, accelerator, remedy)])
    if isinstance(devices, int) and gpus and accelerator != "cpu" and devices > gpus:
        rule = f"is more than this machine has: {gpus} GPU{'s' * (gpus > 1)}"
        remedy = f"Use trainer.devices={gpus}{' or fewer' * (gpus > 1)}."
        if (place := read_place()) is not None and place.launcher == "srun":
            remedy += " Each task must see all GPUs of its node: srun --gpus-per-node, not --gpus-per-task."
        raise UserError("the machine", [Problem("trainer.devices", rule, str(devices), remedy)])
    cores = count_node_cores()
    if isinstance(devices, int) and (accelerator == "cpu" or not gpus) and devices > cores:
        rule = f"is more than the cores that this run may use, {cores}: on a CPU, each device is a process"
        remedy = f"Use trainer.devices={cores}{' or fewer' * (cores > 1)}."
        raise UserError("the machine", [Problem("trainer.devices", rule, str(devices), remedy)])
    if precision == TF32 and (accelerator == "cpu" or not gpus):
        rule, remedy = "requires a GPU", "Use trainer.precision=32-true or bf16-mixed."
        raise UserError("the machine", [Problem("trainer.precision", rule, precision, remedy)])
    if precision == FP16 and (accelerator == "cpu" or not gpus):
        rule = "requires a GPU: float16 on a CPU is many times slower than 32-true"
        remedy = "Use trainer.precision=32-true or bf16-mixed."
        raise UserError("the machine", [Problem("trainer.precision", rule, precision, remedy)])


def check_threads(threads: int | None) -> None:
    """Check that OpenMP can start a number of threads.

    Raises:
        UserError: if not.
    """
    if threads is not None and threads > max_threads():
        rule, remedy = f"must be at most {max_threads()}", "Use null for one per core that this process may use."
        raise UserError("the machine", [Problem("trainer.threads", rule, str(threads), remedy)])


def get_training_loop(trainer: pl.Trainer) -> TrainingLoop:
    """Return the training loop that `build_trainer` added."""
    (loop,) = (callback for callback in trainer.callbacks if isinstance(callback, TrainingLoop))  # type: ignore[attr-defined]
    return loop


def quiet_lightning() -> None:
    """Silence Lightning's tips, and its warnings about choices that Viewfinder makes on purpose."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        "The .*dataloader.* does not have many workers",  # images are in memory; workers would only cost
        "This DataLoader will create .* worker processes",  # data.workers is explicit
        "GPU available but not used",  # trainer=cpu is explicit
        "Trying to infer the `batch_size`",
        "You are trying to `self.log..` but the `trainer` reference is not registered",
        "The `srun` command is available on your system but is not used",  # every node of a cluster has it
        "Found .* module.* in eval mode at the start of training",  # expected for a frozen network
        "It is recommended to use .self.log.*sync_dist=True",  # logged values are reduced already
        ".*`isinstance.treespec, LeafSpec.` is deprecated",  # inside Lightning
        "The epoch parameter in `scheduler.step",  # inside torch 2.6
    ):
        warnings.filterwarnings("ignore", message)
