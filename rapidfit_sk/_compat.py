"""What depends on the version of scikit-learn, in one place."""

from __future__ import annotations

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # before 1.9

    class CallbackSupportMixin:
        """Stands for scikit-learn's mixin; there are no callbacks to support."""

    def with_callbacks(method):
        """Return the method as it is."""
        return method


try:
    from sklearn.utils._repr_html.estimator import _VisualBlock as VisualBlock
except ImportError:  # before 1.7
    from sklearn.utils._estimator_html_repr import _VisualBlock as VisualBlock

__all__ = ["CallbackSupportMixin", "VisualBlock", "with_callbacks"]
