"""Formula of the output size of convolutions and pools, with a layer's numbers filled in."""

from typing import Any, NamedTuple

from torch import nn

Size = tuple[int, ...]


class Window(NamedTuple):
    """Window that slides along one side.

    Args:
        kernel, stride, dilation: in units.
        padding: units on both ends together.
        rounds_up: whether a last incomplete step counts.
    """

    kernel: int
    stride: int = 1
    dilation: int = 1
    padding: int = 0
    rounds_up: bool = False

    def count_steps(self, before: int) -> int:
        """Return the size of the output for a side of `before` units: (W - K + 2P)/S + 1, rounded."""
        span = self._measure_span(before)
        size = (-(-span // self.stride) if self.rounds_up else span // self.stride) + 1
        if self.rounds_up and (size - 1) * self.stride >= before + self.padding // 2:
            size -= 1  # the last window would start in the padding
        return size

    def format_steps(self, before: int) -> str:
        """Return the formula with its numbers and its result; an arrow stands before a rounded one."""
        span, (kernel, stride, dilation, padding, _) = self._measure_span(before), self
        covered = str(kernel) if dilation == 1 else f"({dilation}*({kernel} - 1) + 1)"
        text = f"({before} - {covered} + 2*{padding / 2:g})/{stride} + 1 = {span / stride + 1:.4g}"
        return text if span % stride == 0 else f"{text} -> {self.count_steps(before)}"

    def _measure_span(self, before: int) -> int:
        """Return the way from the first to the last place of the window."""
        return before - self.dilation * (self.kernel - 1) - 1 + self.padding


def format_output_size(module: nn.Module, before: Size, after: Size) -> str:
    """Return the formula (W - K + 2P)/S + 1 with the numbers of a convolution or a pool; '' for other layers.

    Height and width are named where their numbers differ. A dilated kernel covers D(K - 1) + 1 units, in place of K.

    Args:
        module: the layer.
        before, after: (H, W) of its input and output.
    """
    if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        if after == (1, 1):
            return f"all {before[0]} x {before[1]} -> 1 x 1"
        return f"{before[0]} x {before[1]} -> {after[0]} x {after[1]}, whatever the input"
    if not isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        return ""
    texts = [_format_side(read_window(module, axis), before[axis], after[axis]) for axis in (0, 1)]
    if "" in texts:
        return ""  # the layer pads its input itself
    return texts[0] if texts[0] == texts[1] else f"{texts[0]} (height), {texts[1]} (width)"


def read_window(module: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d, axis: int) -> Window:
    """Return the window of a convolution or a pool along the height (0) or the width (1)."""
    options: Any = module
    kernel, stride = _get(options.kernel_size, axis), _get(options.stride, axis)
    dilation = _get(getattr(options, "dilation", 1), axis)
    if isinstance(options.padding, str):
        padding = dilation * (kernel - 1) if options.padding == "same" else 0
    else:
        padding = 2 * _get(options.padding, axis)
    return Window(kernel, stride, dilation, padding, getattr(options, "ceil_mode", False))


def _format_side(window: Window, before: int, after: int) -> str:
    """Return the formula for one side; '' if its result is not the size of the output."""
    return window.format_steps(before) if window.count_steps(before) == after else ""


def _get(value: Any, axis: int) -> int:
    return int(value) if isinstance(value, int) else int(value[axis])
