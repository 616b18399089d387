"""How `make docs` builds the documentation into build/docs.

Nothing is fetched, neither by the build nor by a reader's browser.
"""

import re
from typing import Any

from sphinx.application import Sphinx

from mainspring import __version__

project = "mainspring"
release = version = __version__
author = "the authors of mainspring"
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["conf.py"]

# Pages are Markdown that reads well without a build; links to headings are checked.
myst_heading_anchors = 3

html_theme = "furo"
html_title = "mainspring"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False

# The reference of the Python API comes from the docstrings, in which `Name` refers to a name.
default_role = "py:obj"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
maximum_signature_line_length = 100
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False

# Clauses are for people who work on mainspring.
CLAUSES = re.compile(r" \([A-Z]{1,2}-\d+(?:(?:,| to| and) [A-Z]{1,2}-\d+)*\)")
COLUMNS = re.compile(r"``\S+``(?:, ``\S+``)*  +\S")


def adapt_docstring(_: Sphinx, what: str, *args: Any) -> None:
    """Leave out of a docstring the ids of contract clauses, and of a module's the table of its parts."""
    lines: list[str] = args[-1]
    lines[:] = [CLAUSES.sub("", line) for line in lines]
    if what == "module":
        paragraphs = "\n".join(lines).split("\n\n")
        kept = [paragraph for paragraph in paragraphs if not COLUMNS.match(paragraph)]
        lines[:] = "\n\n".join(kept).split("\n")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", adapt_docstring)
