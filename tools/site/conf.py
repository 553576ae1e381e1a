"""Settings of Sphinx for `make docs`: pages in docs/, and the reference from docstrings."""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "build" / "types"))  # the names that an installed copy has

project, author, copyright = "Sparseloom", "Sparseloom's authors", "Sparseloom's authors"
html_title = "Sparseloom"
html_theme = "furo"
extensions = [
    "myst_parser", "sphinxcontrib.mermaid", "sphinx.ext.autodoc", "sphinx.ext.napoleon",
    "sphinx.ext.apidoc", "sphinx.ext.viewcode"]

myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]
exclude_patterns = ["reference/modules.rst"]

apidoc_modules = [{
    "path": str(ROOT / "build" / "types" / "sparseloom"), "destination": "reference",
    "follow_links": True, "implicit_namespaces": True, "separate_modules": True}]
autodoc_typehints = "none"  # docstrings say types, shapes and units
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = False
napoleon_use_ivar = True    # attributes are described once, where they are properties too
napoleon_custom_sections = [("Members", "params_style"), "Source"]
# Types in docstrings are prose ("Tensor of shape (rows, tokens)"), whose words are no names.
suppress_warnings = ["ref.python"]

LEAVES = re.compile(r"\[([^]]+)\]\(((?:\.\./)+[^)#]+)(?:#[^)]*)?\)")
"""A link to something outside docs/."""


def name_what_lies_outside(app, page, source):
    """A file of the repository that is no page becomes its name: the site stands alone."""
    here = (ROOT / "docs" / page).parent

    def named(found):
        path = (here / found[2]).resolve()
        if path.is_relative_to(ROOT / "docs") or not path.is_relative_to(ROOT):
            return found[0]
        name = f"`{path.relative_to(ROOT)}`"
        return name if found[1].strip("`") in name else f"{found[1]} ({name})"
    source[0] = LEAVES.sub(named, source[0])


def setup(app):
    """Sphinx calls this."""
    app.connect("source-read", name_what_lies_outside)
