"""Sphinx: pages by hand in Markdown, the rest generated from code, configuration files and recorded results."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import neurotwin
from _generate import generate

project = "neurotwin"
author = "The neurotwin developers"
version = release = neurotwin.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
napoleon_use_ivar = True  # attributes that are documented and annotated would stand twice
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_class_signature = "separated"
autodoc_default_options = {"members": True, "show-inheritance": True, "exclude-members": "__init__, __new__"}
html_theme = "furo"
html_title = f"neurotwin {release}"
html_static_path = []
suppress_warnings = ["ref.python"]  # a name that two re-exported modules share


def setup(app):
    """Write the generated pages before Sphinx looks for pages."""
    app.connect("config-inited", lambda app, config: generate(Path(app.srcdir) / "generated"))
