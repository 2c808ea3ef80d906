"""How Sphinx builds the site: `sphinx-build -W docs OUT`."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

project = "bdjax"
html_title = "bdjax"
html_theme = "furo"
html_show_copyright = False
html_copy_source = False
html_static_path = html_css_files = ["site.css"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_preserve_defaults = True
myst_heading_anchors = 3
highlight_language = "text"


def setup(app: Sphinx) -> None:
  """Writes the generated parts of a page when Sphinx reads it."""
  sys.path.insert(0, str(Path(__file__).parent))
  import method_pages

  def read(app, name, source):
    del app, name
    source[0] = method_pages.fill(source[0])

  def add_board(app, error):
    if error is None and app.builder.format == "html":
      method_pages.write_board(Path(app.outdir))

  app.connect("source-read", read)
  app.connect("build-finished", add_board)
