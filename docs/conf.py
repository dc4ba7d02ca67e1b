"""Sphinx configuration: Markdown pages and the reference from docstrings."""

import rapidfit_sk

project = "rapidfit_sk"
author = "The rapidfit-sk developers"
copyright = "2026, the rapidfit-sk developers"
release = rapidfit_sk.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
]
html_theme = "furo"
html_title = f"rapidfit_sk {release}"
exclude_patterns = ["_build"]
myst_heading_anchors = 3

autosummary_generate = True
numpydoc_show_class_members = False
# scikit-learn makes the set_..._request methods itself, with links into its own pages.
_ROUTING = [f"set_{m}_request" for m in ("fit", "partial_fit", "predict", "predict_proba", "score")]
_FOREIGN = [*_ROUTING, "get_metadata_routing", "add_note", "with_traceback"]
autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "exclude-members": ",".join(_FOREIGN),
    # Members of the base classes in this package, but not of these.
    "inherited-members": "ParameterGroup,BaseEstimator,ClassifierMixin,CallbackSupportMixin,"
    "BaseCrossValidator,Callback,Exception",
}
