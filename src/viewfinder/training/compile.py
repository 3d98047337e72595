"""Forward and backward passes of training, compiled by torch.compile."""

import os
import shutil
import sys
import sysconfig
import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from viewfinder.errors import Problem, UserError, format_exception
from viewfinder.training.torch_internals import is_compile_error


def check_compile(is_on_gpu: bool, is_parallel: bool, deterministic: bool) -> None:
    """Check that torch.compile can compile training steps here.

    Raises:
        UserError: if the machine has no compiler, several devices train, or the steps must be deterministic.
    """
    rule, remedy = find_obstacle(is_on_gpu), "Install it, or use trainer.compile=false."
    if is_parallel:
        rule, remedy = "requires that one device trains", "Use trainer.compile=false, or one device."
    elif deterministic:
        rule = "cannot be combined with trainer.deterministic: the compiler chooses kernels for a GPU by their time"
        remedy = "Set one of them to false."
    if rule:
        raise UserError("the machine", [Problem("trainer.compile", rule, "true", remedy)])


def find_obstacle(is_on_gpu: bool) -> str:
    """Return what torch.compile lacks on this machine; '' for nothing."""
    if is_on_gpu and find_spec("triton") is None:
        return "needs the package triton, which is not installed"
    variable, compilers = "CXX", ["clang++" if sys.platform == "darwin" else "g++"]
    if is_on_gpu:
        variable, compilers = "CC", ["gcc", "clang"]
    if chosen := os.environ.get(variable):
        compilers = [chosen]
    if not any(map(shutil.which, compilers)):
        return f"needs a compiler ({' or '.join(compilers)}), which is not found"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "needs the header files of Python, such as the package python3-dev has; Python.h is not found"
    return ""


class CompiledNetwork:
    """A network whose training passes on whole batches are compiled, once for each size of images.

    It is no module: parameters keep their names. The epoch's last batch, if it is smaller, runs uncompiled.

    Args:
        network: the network, in training mode when it is called.
        batch_size: images of a whole batch.
    """

    def __init__(self, network: nn.Module, batch_size: int):
        self.network, self.batch_size = network, batch_size
        self.compiled, self.is_warm = torch.compile(network, dynamic=False), False

    def __call__(self, images: Tensor) -> Tensor:
        """Map float images (N, C, H, W) to logits (N, K)."""
        if len(images) != self.batch_size:
            return self.network(images)
        if self.is_warm:
            return self.compiled(images)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # from the compiler, about its own code
                logits = self.compiled(images)
        except Exception as error:
            if not is_compile_error(error):
                raise
            rule = f"fails for {type(self.network).__name__}: {format_exception(error)[:300]}"
            problem = Problem("trainer.compile", rule, "true", "Use trainer.compile=false.")
            raise UserError("the training step", [problem]) from error
        self.is_warm = True
        return logits
