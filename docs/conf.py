"""Sphinx configuration: Markdown pages, examples that run, and the reference from docstrings."""

import os

# The examples use the bundled encoder. A build needs no network.
os.environ["HF_HUB_OFFLINE"] = "1"

import rapidfit_sk

project = "rapidfit_sk"
author = "The rapidfit-sk developers"
copyright = "2026, the rapidfit-sk developers"
release = version = rapidfit_sk.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "pydata_sphinx_theme"
html_title = f"rapidfit_sk {release}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "rapidfit_sk"},
    "navbar_align": "left",
    "navbar_persistent": ["search-button"],
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    # The styles exist in a light and in a dark form with enough contrast.
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
# A page without neighbors has an empty sidebar.
html_sidebars = {page: [] for page in ("index", "faq", "changelog", "contributing")}

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "auto_examples",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "parallel": 2,
    # Its page of times would load scripts from other sites.
    "write_computation_times": False,
    # Each example has its own modules, so only the defaults of matplotlib are restored.
    "reset_modules": ("matplotlib",),
    "image_scrapers": ("matplotlib",),
    "matplotlib_animations": False,
    "copyfile_regex": r"none",
    "doc_module": ("rapidfit_sk",),
    "backreferences_dir": "generated/backreferences",
}

# Methods are listed without the name of their class, which does not fit beside the page.
toc_object_entries_show_parents = "hide"
autosummary_generate = True
autosummary_imported_members = False
numpydoc_show_class_members = False
# scikit-learn makes the set_..._request methods itself, with links into its own pages.
_ROUTED = (
    "fit",
    "partial_fit",
    "predict",
    "predict_log_proba",
    "predict_proba",
    "score",
    "transform",
)
_ROUTING = [f"set_{method}_request" for method in _ROUTED]
_FOREIGN = [*_ROUTING, "get_metadata_routing", "set_output", "add_note", "with_traceback"]
autodoc_default_options = {
    "members": True,
    "special-members": "__call__,__getitem__",
    "member-order": "bysource",
    "exclude-members": ",".join(_FOREIGN),
    # Members of the base classes in this package, but not of these.
    "inherited-members": "ParameterGroup,BaseEstimator,ClassifierMixin,CallbackSupportMixin,"
    "BaseCrossValidator,Callback,Exception",
}


def _without_blank_lines(app, docname, source):
    """Remove the blank line that ends a doctest in Markdown."""
    source[0] = source[0].replace("\n\n```\n", "\n```\n")


def setup(app):
    """Connect the function above."""
    app.connect("source-read", _without_blank_lines)
