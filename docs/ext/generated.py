"""Sphinx extension: pages and drawings made from conf/ and src/ before the documentation is built."""

from pathlib import Path

from config_reference import describe_configuration
from room_graph import count_imports, draw_rooms
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "_build" / "generated"


def generate(app: Sphinx) -> None:
    """Write the files that pages include."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "configuration.md").write_text(describe_configuration(ROOT / "conf"), encoding="utf-8")
    drawing = draw_rooms(count_imports(ROOT / "src" / "viewfinder"))
    (FOLDER / "rooms.svg").write_text(drawing, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("builder-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
