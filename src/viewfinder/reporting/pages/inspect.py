"""Page of an inspection: inspect.html, one file without network access, and the images and the table beside it."""

import io
from pathlib import Path
from typing import Any

from PIL import Image

from viewfinder.errors import join_first, printable
from viewfinder.reporting.charts.files import encode_png, save_image
from viewfinder.reporting.inspection import (
    FIELD_NOTE,
    Inspection,
    Sheet,
    format_field,
    format_shape,
    tabulate_layers,
)  # fmt: skip
from viewfinder.reporting.pages.render import render_page
from viewfinder.runs.atomic import replace_text

PAGE, TABLE = "inspect.html", "layers.csv"
MAX_SILENT = 40
"""Positions of silent units listed for a layer."""


def write_inspection(folder: Path, inspection: Inspection) -> None:
    """Write inspect.html, layers.csv and the PNG files, in place of those of an earlier inspection.

    Raises:
        OSError: if they cannot be written.
    """
    for path in folder.glob("*.png"):
        path.unlink()
    for name, image in name_images(inspection).items():
        save_image(image, folder / f"{name}.png")
    replace_text(folder / TABLE, tabulate_layers(inspection.layers).to_csv(index=False))
    replace_text(folder / PAGE, _render(inspection))


def name_images(inspection: Inspection) -> dict[str, Image.Image]:
    """Return the images of an inspection by name."""
    sheets = [inspection.kernels] if inspection.kernels else []
    sheets += [sheet for example in inspection.examples for sheet in (*example.heats, *example.maps)]
    return {sheet.name: sheet.image for sheet in sheets}


def _render(inspection: Inspection) -> str:
    return render_page(
        "inspect.html.j2",
        title=printable(inspection.title),
        source=printable(inspection.source),
        command=printable(inspection.command),
        shape=format_shape(inspection.image_shape),
        facts=inspection.facts,
        layers=[
            {
                "name": printable(layer.name or "(network)"), "kind": layer.kind, "output": format_shape(layer.after),
                "parameters": layer.parameters, "multiply_adds": layer.multiply_adds,
                "field": format_field(layer.field), "formula": layer.formula,
            }
            for layer in inspection.layers
        ],
        field_note=FIELD_NOTE,
        kernels=_show_sheet(inspection.kernels) if inspection.kernels else None,
        examples=[
            {
                "title": printable(example.title), "verdict": printable(example.verdict),
                "image": _encode(example.image), "maps": [_show_sheet(sheet) for sheet in example.maps],
                "heats": [_show_sheet(sheet) for sheet in example.heats],
            }
            for example in inspection.examples
        ],
        silent=[
            {
                "layer": printable(layer.layer), "units": layer.units, "count": len(layer.silent),
                "positions": join_first([str(position) for position in layer.silent], MAX_SILENT),
            }
            for layer in inspection.silent
        ],
        silent_source=inspection.silent_source,
        left_out=[printable(line) for line in inspection.left_out],
    )  # fmt: skip


def _show_sheet(sheet: Sheet) -> dict[str, Any]:
    return {"title": printable(sheet.title), "note": printable(sheet.note), "image": _encode(sheet.image)}


def _encode(image: Image.Image) -> str:
    """Return an image as a data URL."""
    file = io.BytesIO()
    image.save(file, "png")
    return encode_png(file.getvalue())
