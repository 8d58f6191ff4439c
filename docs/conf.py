# SPDX-License-Identifier: Apache-2.0
"""The docs site: ``make docs``. Needs no network and no GPU."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / '_ext'), str(HERE.parent)]

from mmreid_gcl.version import __version__  # noqa: E402

project = 'mmreid_gcl'
author = 'The mmreid_gcl contributors'
copyright = author
release = version = __version__

extensions = [
    'myst_nb',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
    'sphinx_copybutton',
    'public_names',
]
exclude_patterns = ['_build', '**/.ipynb_checkpoints']

# Anchors of headings as on GitHub, so that a link serves both.
myst_heading_anchors = 4
myst_enable_extensions = ['colon_fence']
nb_execution_mode = 'off'  # notebooks keep the outputs of docs/notebooks/run.py

# Docstrings have the types; signatures have names and defaults.
autodoc_typehints = 'none'
autodoc_member_order = 'bysource'
autodoc_preserve_defaults = True
napoleon_use_rtype = False
napoleon_use_ivar = True
maximum_signature_line_length = 80
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = 'hide'

# A name in a docstring that leads nowhere is an error, but for types: those of
# other packages are not here, and words such as "optional" are no names.
nitpicky = True
nitpick_ignore_regex = [('py:class', r'.*')]

html_theme = 'furo'
html_title = 'mmreid_gcl'
html_static_path = ['_static']
html_css_files = ['site.css']
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_theme_options = {'navigation_with_keys': True}
templates_path = []
pygments_style = 'friendly'
pygments_dark_style = 'native'
copybutton_exclude = '.linenos, .gp, .go'
