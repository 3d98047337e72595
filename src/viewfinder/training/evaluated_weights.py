"""Weights that are evaluated and saved in place of those that training changes."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer

from viewfinder.errors import Problem, UserError, format_exception
from viewfinder.training.callbacks.step_callback import StepCallback


class EvaluatedWeights(StepCallback):
    """Second weights of a network, which are validated, tested and saved in place of the trained weights.

    They cover the parameters that are or were trained and the floating-point buffers of their modules, such as
    batch-norm statistics; everything else is the same in both. The network holds them while it is validated and after
    the training. `state_dict` of a checkpoint contains them, and `trained_weights` those that training continues with.
    """

    name: str
    """key of the state in a checkpoint; it never changes"""

    def __init__(self) -> None:
        self.is_evaluated = True
        """False if another callback has the weights to evaluate"""
        self.updates = 0
        """number of updates so far; until the first, the trained weights are evaluated"""
        self.weights: dict[str, Tensor] = {}
        """these weights, by their names in the network"""
        self.trained: dict[str, Tensor] = {}
        """tensors of the network of the same names, in the same order"""
        self.set_aside: dict[str, Tensor] = {}
        """copy of the trained weights while the network holds these weights"""
        self.recomputed: dict[str, Tensor] = {}
        """buffers that were computed for the last validation, and are valid until the next step"""
        self.optimizer: Optimizer | None = None
        """optimizer of the parameters that are covered"""

    @property
    def state_key(self) -> str:
        return self.name

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.updates, self.weights = state_dict["updates"], state_dict["weights"]

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._cover(trainer, pl_module.network)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.state.fn != TrainerFn.FITTING or not self._is_in_use():
            return
        self._cover(trainer, pl_module.network)
        self.set_aside = {name: value.clone() for name, value in self.trained.items()}
        copy_values(self.weights, self.trained)
        self.recomputed = self.recompute_buffers(trainer, pl_module)

    def recompute_buffers(self, trainer: pl.Trainer, pl_module: Any) -> dict[str, Tensor]:
        """Compute buffers for these weights, which the network holds, and return a copy of them by their names."""
        return {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.set_aside:
            copy_values(self.set_aside, self.trained)
            self.set_aside = {}

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self._is_in_use():
            copy_values({**self.weights, **self.recomputed}, self.trained)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if not self._is_in_use():
            return
        checkpoint["trained_weights"] = self.set_aside or self.trained
        if not self.set_aside:
            weights = {**self.weights, **self.recomputed}
            checkpoint["state_dict"] |= {f"network.{name}": value for name, value in weights.items()}

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if not (self.is_evaluated and "trained_weights" in checkpoint):
            return
        try:
            copy_values(checkpoint["trained_weights"], pl_module.network.state_dict())
        except (AttributeError, KeyError, RuntimeError, TypeError) as error:
            rule = f"has no trained_weights of this network: {format_exception(error)}"
            raise UserError("the checkpoint", [Problem("last.ckpt", rule)]) from error

    def _is_in_use(self) -> bool:
        return self.is_evaluated and self.updates > 0

    def _cover(self, trainer: pl.Trainer, network: nn.Module) -> None:
        """Cover what a new optimizer trains, when training begins and when a phase begins."""
        (optimizer,) = trainer.optimizers
        if optimizer is self.optimizer:
            return
        self.optimizer = optimizer
        names = {*self.weights, *list_trained(network)}
        with torch.inference_mode(False):  # a run that is resumed in its validation; steps could not update the copies
            self.trained = {name: value for name, value in network.state_dict().items() if name in names}
            self.weights = {
                name: self.weights[name].to(value.device) if name in self.weights else value.clone()
                for name, value in self.trained.items()
            }


def list_trained(network: nn.Module) -> list[str]:
    """Return the names of the trainable parameters, and of the floating-point buffers of modules in training mode."""
    names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    for prefix, module in network.named_modules():
        buffers = module.named_buffers(prefix, recurse=False) if module.training else ()
        names += [name for name, buffer in buffers if buffer.is_floating_point()]
    return names


def copy_values(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    """Copy the values of tensors into those of the same names."""
    for name, value in source.items():
        target[name].copy_(value)
