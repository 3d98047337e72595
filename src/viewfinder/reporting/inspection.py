"""Result of an inspection of a network, and its tables on the terminal."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from PIL import Image
from rich.console import Console
from rich.table import Table

from viewfinder.errors import join_first, printable
from viewfinder.models.layers import Layer, Shape
from viewfinder.models.receptive_field import Fields
from viewfinder.models.silent_units import SilentUnits
from viewfinder.reporting.tables import print_wrapped

FIELD_NOTE = (
    "field: side in pixels of the square of the image that a unit sees, padding included; all: the whole image; "
    "?: unknown, after attention within windows, for example"
)
WIDTH = 80
"""Columns of the terminal lines of FIELD_NOTE."""
MAX_NAMED = 4
"""Layers named for one formula, and layers with silent units, on the terminal."""


class Sheet(NamedTuple):
    """An image of a layer.

    Args:
        name: file name without suffix, and end of TensorBoard's tag.
        title: name of the layer or of the method.
        note: sentence below it.
        image: the image.
    """

    name: str
    title: str
    note: str
    image: Image.Image


class Example(NamedTuple):
    """Feature maps and attributions of one image.

    Args:
        title: name of the image.
        verdict: its predicted class, and the true one if it is known.
        image: the image as the network gets it, enlarged.
        maps: feature maps by block.
        heats: attributions.
    """

    title: str
    verdict: str
    image: Image.Image
    maps: list[Sheet]
    heats: list[Sheet]


class Inspection(NamedTuple):
    """Facts and images of a network.

    Args:
        title: name of the network.
        source: the run, or that it has none.
        command: command line of the inspection.
        image_shape: (C, H, W) of its input.
        layers: its layers.
        facts: `network` of run.json: name, parameters, multiply_adds.
        kernels: kernels of the first layer; None if they are random or cannot be shown.
        examples: chosen images and the worst mistakes.
        silent: units that never fire, by layer.
        silent_source: images on which the units were tried; '' if none were.
        left_out: sentences about what is left out, with the reason.
    """

    title: str
    source: str
    command: str
    image_shape: Shape
    layers: list[Layer]
    facts: Mapping[str, Any]
    kernels: Sheet | None
    examples: list[Example]
    silent: list[SilentUnits]
    silent_source: str
    left_out: list[str]


def tabulate_layers(layers: Sequence[Layer]) -> pd.DataFrame:
    """Return the content of layers.csv, a row for each layer."""
    return pd.DataFrame(
        {
            "layer": [layer.name for layer in layers],
            "kind": [layer.kind for layer in layers],
            "calls": [layer.calls for layer in layers],
            "input": [format_shape(layer.before) for layer in layers],
            "output": [format_shape(layer.after) for layer in layers],
            "parameters": [layer.parameters for layer in layers],
            "multiply_adds": [layer.multiply_adds for layer in layers],
            "receptive_field": [format_field(layer.field) for layer in layers],
            "output_size": [layer.formula for layer in layers],
        }
    )


def format_shape(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def format_field(field: Fields | None) -> str:
    """Format a receptive field: '5', '5 x 9' (height x width), 'all', or '?' if it is unknown."""
    if field is None:
        return "?"
    if field.is_gathered:
        return "all"
    height, width = round(field.height.size), round(field.width.size)
    return str(height) if height == width else f"{height} x {width}"


def print_inspection(console: Console, inspection: Inspection) -> None:
    """Print the layers, the formulas of their output sizes, and facts about the network."""
    facts, shape = inspection.facts, format_shape(inspection.image_shape)
    console.print(build_layer_table(inspection.layers, printable(f"{inspection.title}, {inspection.source}")))
    if any(layer.formula for layer in inspection.layers):
        console.print()
        console.print(build_formula_table(inspection.layers))
    console.print(f"\n{textwrap.fill(FIELD_NOTE, WIDTH)}")
    costs = f"{facts['parameters']:,} parameters, {facts['multiply_adds']:,} multiply-adds"
    lines = [f"network  {costs} for an image of {shape}"]
    if inspection.silent_source:
        lines.append(f"silent   {describe_silent(inspection.silent)}, on {inspection.silent_source}")
    for line in (*lines, *(f"left out {line}" for line in inspection.left_out)):
        print_wrapped(console, printable(line))


def build_layer_table(layers: Sequence[Layer], title: str) -> Table:
    """Tabulate the layers that have parameters or change the shape, and the totals of all layers."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("layer", overflow="fold")
    table.add_column("kind", overflow="fold")
    for column in ("output", "parameters", "multiply-adds", "field"):
        table.add_column(column, justify="right", no_wrap=True)
    for layer in layers:
        if layer.parameters or layer.multiply_adds or layer.changes_shape:
            table.add_row(
                _shorten(layer.name), layer.kind, "x".join(map(str, layer.after)),
                f"{layer.parameters:,}", f"{layer.multiply_adds:,}", format_field(layer.field).replace(" ", ""),
            )  # fmt: skip
    totals = [f"{sum(getattr(layer, name) for layer in layers):,}" for name in ("parameters", "multiply_adds")]
    table.add_section()
    table.add_row("all", "", "", *totals, "")
    return table


def build_formula_table(layers: Sequence[Layer]) -> Table:
    """Tabulate the different formulas of output sizes, with the layers that each is for."""
    groups: dict[str, list[str]] = {}
    for layer in layers:
        if layer.formula:
            groups.setdefault(layer.formula, []).append(_shorten(layer.name))
    table = Table(box=None, pad_edge=False)
    table.add_column("output size: (W - K + 2*P)/S + 1", overflow="fold")
    table.add_column("layers", overflow="fold")
    for formula, names in groups.items():
        table.add_row(formula, join_first(names, MAX_NAMED))
    return table


def _shorten(name: str) -> str:
    """Return the name of a layer for the terminal: nearly all layers of a pre-trained network are in its backbone."""
    return printable(name.removeprefix("backbone.") or "(network)")


def describe_silent(silent: Sequence[SilentUnits]) -> str:
    """Describe how many units never fire, and in which layers most of them are."""
    units, count = sum(layer.units for layer in silent), sum(len(layer.silent) for layer in silent)
    if not units:
        return "no ReLU layers"
    ordered = sorted((layer for layer in silent if layer.silent), key=lambda layer: -len(layer.silent))
    named = [f"{len(layer.silent):,} of {layer.units:,} in {layer.layer}" for layer in ordered]
    where = f" ({join_first(named, MAX_NAMED)})" if named else ""
    return f"{count:,} of {units:,} units of ReLU layers never fire{where}"
