"""Viewfinder: image-classification experiments from small YAML files."""

import sys

from viewfinder.config.moved import MovedModules

sys.meta_path.append(MovedModules())
