"""Layers of a network in the order of their calls: output shape, parameters, multiply-adds, receptive field."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from viewfinder.data.preprocess import get_preprocess
from viewfinder.models.output_size import format_output_size
from viewfinder.models.receptive_field import Fields, FieldTracker
from viewfinder.models.summary import count_flops

Shape = tuple[int, ...]


class Layer(NamedTuple):
    """A module of a network that computes, holds parameters itself, or has no modules inside.

    Args:
        name: dotted name in the network; '' for the network itself.
        kind: name of its class.
        before, after: shapes of its input and output for one image, without the first dimension.
        parameters: number of its own parameters.
        multiply_adds: for one image.
        field: what a unit of its output sees; None if unknown.
        formula: formula of its output size; '' if it is neither a convolution nor a pool.
        calls: number of calls for one image; shapes are those of the last one.
    """

    name: str
    kind: str
    before: Shape
    after: Shape
    parameters: int
    multiply_adds: int
    field: Fields | None
    formula: str
    calls: int

    @property
    def changes_shape(self) -> bool:
        return self.before != self.after


class _Calls:
    """Calls of one module: their number, shapes, own floating-point operations and receptive field."""

    def __init__(self) -> None:
        self.count, self.flops = 0, 0
        self.before: Shape = ()
        self.after: Shape = ()
        self.field: Fields | None = None


def list_layers(network: nn.Module, channels: int) -> list[Layer]:
    """Return the layers of a network, which has no uninitialised parameters, in the order of their first calls.

    Parameters and multiply-adds of the layers add up to those of the network.

    Args:
        network: on the CPU; it stays as it is.
        channels: channels of its images.
    """
    names = {module: name for name, module in network.named_modules()}
    calls = _record_calls(network, names, channels)
    parameters = _count_parameters(network, calls)
    layers = []
    for name, call in calls.items():
        module = network.get_submodule(name)
        is_leaf = not any(True for _ in module.children())
        if not (is_leaf or call.flops or parameters[name]) or isinstance(module, nn.Identity):
            continue
        formula = format_output_size(module, call.before[-2:], call.after[-2:])
        layers.append(
            Layer(
                name, type(module).__name__, call.before, call.after, parameters[name], call.flops // 2, call.field,
                formula, call.count,
            )
        )  # fmt: skip
    return layers


def _record_calls(network: nn.Module, names: dict[nn.Module, str], channels: int) -> dict[str, _Calls]:
    """Return the calls of each module for one blank image, by its name, in the order of the first calls."""
    side, training = get_preprocess(network).image_size, network.training
    images = torch.zeros(1, channels, side, side)
    calls: dict[str, _Calls] = {}
    open_calls: list[list[int]] = []
    """floating-point operations before each unfinished call, and those of the calls inside it"""
    tracker = FieldTracker(images)

    def enter(module: nn.Module, inputs: Any) -> None:
        calls.setdefault(names[module], _Calls())
        open_calls.append([counter.get_total_flops(), 0])

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        started, inner = open_calls.pop()
        total = counter.get_total_flops() - started
        if open_calls:
            open_calls[-1][1] += total
        call, tensor = calls[names[module]], first_tensor(output)
        call.count, call.flops = call.count + 1, call.flops + total - inner
        if tensor is not None and (source := first_tensor(inputs)) is not None:
            call.before, call.after, call.field = tuple(source.shape[1:]), tuple(tensor.shape[1:]), tracker.find(tensor)

    handles = [module.register_forward_pre_hook(enter) for module in names]
    handles += [module.register_forward_hook(leave) for module in names]
    try:
        with count_flops() as counter, torch.no_grad(), tracker:
            network.eval()(images)
    finally:
        for handle in handles:
            handle.remove()
        network.train(training)
    return calls


@contextlib.contextmanager
def observed(modules: Mapping[str, nn.Module], observe: Callable[[str, Tensor | None], None]) -> Iterator[None]:
    """Call `observe` with a module's name and output after each call of the module within this block.

    Of an output with several parts, the first tensor is passed; None if there is none.
    """

    def make_hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda module, inputs, output: observe(name, first_tensor(output))

    handles = [module.register_forward_hook(make_hook(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def first_tensor(value: Any) -> Tensor | None:
    """Return a tensor, or the first one of a tuple or list; None if there is none."""
    values = value if isinstance(value, tuple | list) else [value]
    return next((each for each in values if isinstance(each, Tensor)), None)


def _count_parameters(network: nn.Module, calls: dict[str, _Calls]) -> dict[str, int]:
    """Count the parameters of each called module; those of a module that is not called belong to the one around it."""
    counts, seen = dict.fromkeys(calls, 0), set[int]()
    for name, module in network.named_modules():
        owner = name
        while owner not in calls:
            owner = owner.rpartition(".")[0]
        for parameter in module.parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                counts[owner] += parameter.numel()
    return counts
