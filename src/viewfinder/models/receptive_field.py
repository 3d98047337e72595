"""Receptive fields of the layers of a network, followed through its calls of torch's functions."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from torch import Tensor
from torch.overrides import TorchFunctionMode

PARAMETERS = {
    "conv2d": ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "max_pool2d": ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
    "avg_pool2d": ("input", "kernel_size", "stride", "padding", "ceil_mode"),
    "adaptive_avg_pool2d": ("input", "output_size"),
    "adaptive_max_pool2d": ("input", "output_size", "return_indices"),
    "pad": ("input", "pad", "mode", "value"),
}
"""Functions that change which pixels a unit sees, and the names of their arguments in order."""
RESHAPING = ("flatten", "reshape", "view", "squeeze")
MIXING = ("matmul", "__matmul__", "bmm", "baddbmm", "einsum", "softmax", "roll", "flip", "sort", "cumsum")
"""Functions that may combine units of any places although the shape stays the same."""
NORMALISING = ("group_norm", "instance_norm")
"""Normalisations over the pixels of an image."""
ATTENTION = {"scaled_dot_product_attention": 0, "multi_head_attention_forward": 1}
"""Attention functions, and the dimension of their first argument that counts images or windows."""


class Field(NamedTuple):
    """Pixels that the units along one side of a layer see.

    Args:
        start: first pixel that the first unit sees; negative in the padding.
        jump: pixels between two neighbouring units; 0 if all units see the same pixels.
        size: number of pixels that a unit sees.
        units: number of units.
    """

    start: float
    jump: float
    size: float
    units: int

    def slide(self, kernel: float, stride: float, before: float, dilation: int, units: int) -> "Field":
        """Return the field after a window has slid over the units.

        Args:
            kernel: units in the window.
            stride: units between neighbouring places of the window.
            before: units of padding before the first one.
            dilation: distance between units in the window.
            units: number of places of the window.
        """
        size = self.size + (kernel - 1) * dilation * self.jump
        return Field(self.start - before * self.jump, stride * self.jump, size, units)

    def join(self, other: "Field") -> "Field":
        """Return the field of units that see what each of two sees."""
        start, end = min(self.start, other.start), max(self.start + self.size, other.start + other.size)
        jump = self.jump if self.jump and other.jump else 0
        return Field(start, jump, end - start, self.units)

    def gather(self) -> "Field":
        """Return the field of a unit that sees what all of these units see."""
        return Field(self.start, 0, (self.units - 1) * self.jump + self.size, 1)


class Fields(NamedTuple):
    """Fields of a layer along both sides; `is_flat` if its units are in a vector or a list of tokens."""

    height: Field
    width: Field
    is_flat: bool = False

    @property
    def units(self) -> tuple[int, int]:
        return self.height.units, self.width.units

    @property
    def is_gathered(self) -> bool:
        """True if all units see the same pixels."""
        return not (self.height.jump or self.width.jump)

    def gather(self) -> "Fields":
        return Fields(self.height.gather(), self.width.gather())

    def has_shape(self, shape: tuple[int, ...]) -> bool:
        """Return whether a tensor has one unit per place: (..., H, W), or (N, H, W, C)."""
        return shape[-2:] == self.units or (len(shape) == 4 and shape[1:3] == self.units)


class FieldTracker(TorchFunctionMode):
    """Context that tracks the receptive field of each tensor that depends on an image.

    It knows convolutions, pools, padding, attention over all tokens, linear layers over all pixels, sums and
    concatenations. After anything else that changes the shape, such as attention within windows, the field is unknown
    until a layer sees the whole image. From Araujo, Norris and Sim 2019, "Computing Receptive Fields of Convolutional
    Neural Networks" (Distill).

    Args:
        images: (1, C, H, W), input of the network that is called in this context.
    """

    def __init__(self, images: Tensor):
        super().__init__()
        height, width = images.shape[-2:]
        self.pixels = Fields(Field(0, 1, 1, height), Field(0, 1, 1, width))
        self.known: dict[int, tuple[Tensor, Fields | None]] = {id(images): (images, self.pixels)}
        """fields by the tensor's id; the tensors are kept, so that no other one gets the same id"""

    def find(self, tensor: Tensor) -> Fields | None:
        """Return the fields of a tensor; None if they are unknown, or it does not depend on the image."""
        return self.known.get(id(tensor), (tensor, None))[1]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        inputs = [tensor for tensor in _list_tensors([*args, *kwargs.values()]) if id(tensor) in self.known]
        if inputs:
            name = getattr(func, "__name__", "")
            for output in _list_tensors([result]):
                self.known[id(output)] = (output, self._follow(name, args, kwargs, inputs, tuple(output.shape)))
        return result

    def _follow(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], inputs: list[Tensor], shape: tuple[int, ...]
    ) -> Fields | None:
        """Return the fields of a function's output, whose inputs depend on the image."""
        first, fields = inputs[0], [self.find(tensor) for tensor in inputs]
        if name in ATTENTION:
            return self.pixels.gather() if first.shape[ATTENTION[name]] == 1 else None
        if name in NORMALISING or (name in ("mean", "adaptive_avg_pool2d") and _is_over_all(name, shape)):
            return self.pixels.gather() if fields[0] is None or name in NORMALISING else fields[0].gather()
        if any(each is None for each in fields):
            return None
        joined = _join([each for each in fields if each is not None])
        if joined.is_gathered:
            return joined
        if name in PARAMETERS:
            return _slide(name, {**dict(zip(PARAMETERS[name], args, strict=False)), **kwargs}, joined, shape)
        if name in MIXING:
            return None
        if name == "linear" and joined.is_flat:
            return _mix_units(joined, tuple(first.shape))
        if joined.is_flat or joined.has_shape(shape):
            return joined
        return joined._replace(is_flat=True) if name in RESHAPING else None


def _list_tensors(values: Iterable[Any]) -> list[Tensor]:
    nested = [inner for value in values for inner in (value if isinstance(value, list | tuple) else [value])]
    return [value for value in nested if isinstance(value, Tensor)]


def _is_over_all(name: str, shape: tuple[int, ...]) -> bool:
    """Return whether a mean with this output shape is over all pixels."""
    return len(shape) <= 2 or shape[-2:] == (1, 1)


def _join(fields: list[Fields]) -> Fields:
    """Return what units see that are computed from units of several tensors, such as by a sum."""
    joined = fields[0]
    for each in fields[1:]:
        joined = Fields(joined.height.join(each.height), joined.width.join(each.width), joined.is_flat or each.is_flat)
    return joined


def _mix_units(fields: Fields, shape: tuple[int, ...]) -> Fields | None:
    """Return the fields after a linear layer. Its input is a vector of all units, or a list of tokens."""
    if len(shape) == 2:
        return fields.gather()
    tokens = fields.height.units * fields.width.units
    return None if shape[-1] in (tokens, tokens + 1) else fields  # a linear layer over tokens, not over features


def _slide(name: str, arguments: dict[str, Any], fields: Fields, shape: tuple[int, ...]) -> Fields | None:
    """Return the fields after a convolution, a pool or a padding with this output shape."""
    if fields.is_flat or len(shape) != 4:
        return None
    sides = []
    for axis, (field, units) in enumerate(zip(fields[:2], shape[-2:], strict=True)):
        if name == "pad":
            before = arguments["pad"][2 * (1 - axis)] if len(arguments["pad"]) > 2 * (1 - axis) else 0
            kernel, stride, dilation = 1, 1, 1
        elif name.startswith("adaptive"):
            edges = [(place * field.units // units, -(-(place + 1) * field.units // units)) for place in range(units)]
            kernel, stride = max(end - start for start, end in edges), field.units / units
            before, dilation = 0, 1
        else:
            window = arguments["weight"].shape[2:] if name == "conv2d" else arguments["kernel_size"]
            kernel, dilation = _get(window, axis), _get(arguments.get("dilation", 1), axis)
            stride = _get(arguments.get("stride") or (1 if name == "conv2d" else window), axis)
            padding = arguments.get("padding", 0)
            if isinstance(padding, str):  # "same" or "valid"
                padding = (kernel - 1) * dilation // 2 if padding == "same" else 0
            before = _get(padding, axis)
        sides.append(field.slide(kernel, stride, before, dilation, units))
    return Fields(*sides)


def _get(value: Any, axis: int) -> int:
    """Return an argument for one axis; a single number is for both."""
    return int(value) if isinstance(value, int) else int(value[axis if len(value) > 1 else 0])
