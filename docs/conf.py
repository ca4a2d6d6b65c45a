"""How Sphinx builds these pages: `make docs`, where a warning is an error."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import negmine

project = "negmine"
author = "the negmine authors"
version = release = negmine.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "examples"]
html_theme = "alabaster"
html_theme_options = {
    "description": "Offline hard-negative mining",
    # Lines of 100 characters fit.
    "page_width": "1240px",
    "body_max_width": "auto",
    "code_font_size": "0.8em",
}
# Headings can be linked to, as on the pages of a forge.
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
nitpicky = True
# Types of other projects have no page here, and what stands behind negmine.extend has one there.
nitpick_ignore_regex = [("py:.*", ".*")]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
# Attributes as a list in their class: one that holds a function is a member of it too.
napoleon_use_ivar = True
# A class shows what it is for; its parameters are its attributes.
autodoc_class_signature = "separated"
