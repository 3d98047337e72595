"""Pages rendered from the Jinja templates in this folder."""

from pathlib import Path
from typing import Any

import jinja2

from viewfinder.errors import printable


def render_page(template: str, **values: Any) -> str:
    """Render a template; all values are escaped."""
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=folder, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"percent": _format_percent, "printable": printable}
    return environment.get_template(template).render(**values)


def _format_percent(value: float) -> str:
    return f"{100 * value:.1f}%"
