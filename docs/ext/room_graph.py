"""SVG drawing of the imports between the rooms of src/viewfinder."""

import ast
import importlib.util
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
(ROOMS,) = (
    contract["layers"] for contract in PROJECT["tool"]["importlinter"]["contracts"] if contract["type"] == "layers"
)
"""Rooms from top to bottom, as import-linter holds them; each imports from later ones."""
STEP, ROW, BOX, HEIGHT, RADIUS = 78, 40, 74, 26, 10
"""Pixels: from column to column, from row to row, width and height of a box, radius of a dot."""
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: var(--color-foreground-primary, #222); text-anchor: middle; }
  .box { fill: var(--color-background-secondary, #f2f5f9); stroke: var(--color-foreground-muted, #6b7280); }
  .line { stroke: var(--color-foreground-border, #b8bfca); }
  .down { fill: #2563a8; }
  .up { fill: #c0392b; }
  .count { font-size: 10px; fill: #fff; }
"""


def count_imports(package: Path) -> Counter[tuple[str, str]]:
    """Count the modules of one room that import from another: (importing room, imported room) -> modules."""
    modules = {".".join(path.relative_to(package.parent).with_suffix("").parts): path for path in package.rglob("*.py")}
    edges: Counter[tuple[str, str]] = Counter()
    for module, path in modules.items():
        room = room_of(module, package.name)
        imported = {room_of(name, package.name) for name in _imported_names(module, path)}
        edges.update((room, other) for other in imported if room and other and other != room)
    return edges


def room_of(name: str, package: str) -> str:
    """Return the room of a dotted name below a package; '' for the package itself and for other packages."""
    top, _, rest = name.removesuffix(".__init__").partition(".")
    return rest.partition(".")[0] if top == package else ""


def _imported_names(module: str, path: Path) -> Iterator[str]:
    parent = module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = importlib.util.resolve_name("." * node.level + (node.module or ""), parent)
            yield from (f"{source}.{alias.name}" for alias in node.names)


def draw_rooms(edges: Counter[tuple[str, str]]) -> str:
    """Return an N-squared chart as SVG: rooms on the diagonal, a dot where the row's room imports the column's.

    Dots above the diagonal are imports of lower rooms. A dot below it breaks the order, and is red.
    """
    rooms = [room for room in ROOMS if any(room in edge for edge in edges)]
    rooms += sorted({room for edge in edges for room in edge} - set(rooms))
    places = {room: (STEP // 2 + STEP * index, ROW // 2 + ROW * index) for index, room in enumerate(rooms)}
    lines, dots = [], []
    for (room, other), count in sorted(edges.items()):
        (left, y), (x, bottom) = places[room], places[other]
        kind = "down" if rooms.index(room) < rooms.index(other) else "up"
        lines.append(f'<path class="line" fill="none" d="M{left} {y}H{x}V{bottom}"/>')
        plural = "module" if count == 1 else "modules"
        dots.append(
            f'<g><title>{room} imports {other} in {count} {plural}</title><circle class="{kind}" cx="{x}" cy="{y}" '
            f'r="{RADIUS}"/><text class="count" x="{x}" y="{y + 3.5}">{count}</text></g>'
        )
    boxes = [
        f'<rect class="box" x="{x - BOX / 2}" y="{y - HEIGHT / 2}" width="{BOX}" height="{HEIGHT}" rx="4"/>'
        f'<text x="{x}" y="{y + 4}">{room}</text>'
        for room, (x, y) in places.items()
    ]
    size = f'viewBox="0 0 {STEP * len(rooms)} {ROW * len(rooms)}" width="100%"'
    label = "Which room imports which: rooms on the diagonal, imports as dots"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">'
    return "\n".join([head, f"<style>{STYLE}</style>", *lines, *boxes, *dots, "</svg>", ""])
