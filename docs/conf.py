"""Configuration of Sphinx: `sphinx-build -W docs docs/_build/html`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "ext"))

project = "Viewfinder"
extensions = ["myst_parser", "generated"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
smartquotes = False  # quotes and dashes of command lines are to be typed
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_title = "Viewfinder"
html_show_copyright = False
html_show_sphinx = False
