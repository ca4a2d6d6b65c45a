"""How Sphinx builds these pages: `make docs`, where a warning is an error."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import negmine

project = "negmine"
author = "the negmine authors"
version = release = negmine.__version__
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "examples"]
html_theme = "alabaster"
html_theme_options = {"description": "Offline hard-negative mining", "page_width": "1000px"}
# Headings can be linked to, as on the pages of a forge.
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
nitpicky = True
