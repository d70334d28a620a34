"""How Sphinx makes the site of these pages: `python -m sphinx -W --keep-going -b html docs build/site`.

The pages are Markdown that reads well by itself; the lessons of docs/learn are notebooks, run by the build. Nothing is
fetched: no inventory of another project, no font or script from outside.
"""

from bitquant import __version__

project = "bitquant"
author = "The bitquant developers"
copyright = author
release = version = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "numpydoc",
    "sphinx_copybutton",
]
source_suffix = {".md": "myst-nb"}
exclude_patterns = ["_build"]
nitpicky = True
smartquotes = False  # a name in quotes is typed as it stands

# The lessons are run each time, since what they show hangs on the library and not on their text alone. An exception,
# or a cell that needs more than five minutes, ends the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_show_tb = True
nb_merge_streams = True

# Headings can be linked to by name, as on code hosts. The generated pages link to sections in <a> of their own.
myst_heading_anchors = 3
myst_enable_extensions = []  # formulas are text: what sets them as pictures would come from outside

# Docstrings say the types; signatures stay short. `name` is code.
default_role = "code"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
numpydoc_show_class_members = False  # autodoc lists them

html_theme = "pydata_sphinx_theme"
html_title = "bitquant"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
