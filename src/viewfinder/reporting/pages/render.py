"""Pages rendered from the Jinja templates in this folder."""

from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from viewfinder.errors import printable


def render_page(template: str, **values: Any) -> str:
    """Render a template; all values are escaped."""
    return _make_environment().get_template(template).render(**values)


@cache
def _make_environment() -> jinja2.Environment:
    """Return an environment that compiles each template once."""
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=folder, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"percent": _format_percent, "printable": printable}
    return environment


def _format_percent(value: float) -> str:
    return f"{100 * value:.1f}%"
