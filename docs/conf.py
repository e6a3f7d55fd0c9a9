"""How Sphinx builds these pages: .venv/bin/python -m sphinx -W --keep-going docs docs/_build"""

import sys
from pathlib import Path

import fastrnn

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "fastrnn"
author = "The fastrnn developers"
copyright = author
release = version = fastrnn.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.viewcode", "numpydoc", "myst_parser", "sphinx_copybutton", "mathml"]
exclude_patterns = ["_build"]
default_role = "code"

html_theme = "furo"
html_title = f"fastrnn {release}"
html_static_path = ["_static"]
html_css_files = ["fastrnn.css"]
html_math_renderer = "mathml"
html_copy_source = False

myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Types are in the docstrings, with shapes and units.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
autodoc_typehints = "none"  # docstrings say what arguments are
autodoc_default_options = {"exclude-members": "new_splitter, to_arrays, from_arrays, translate_encoded"}


def setup(app):
    app.connect("autodoc-skip-member", _is_attribute)


def _is_attribute(app, what, name, obj, skip, options):
    """What fitting leaves behind, `params_` and the like, is described with the class."""
    return True if name.endswith("_") and not name.endswith("__") else skip
