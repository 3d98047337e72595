"""Configuration of Sphinx: `sphinx-build -W docs docs/_build/html`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "ext"))

project = "Viewfinder"
extensions = ["myst_nb", "generated", "commands"]
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_output_stderr = "remove"
nb_merge_streams = True
exclude_patterns = ["_build"]
myst_heading_anchors = 3
smartquotes = False  # quotes and dashes of command lines are to be typed
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_extra_path = ["_build/generated/extra"]
html_title = "Viewfinder"
html_show_copyright = False
html_show_sphinx = False
