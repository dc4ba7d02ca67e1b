"""Versions and hardware for bug reports."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import torch

from ._fitting import find_device
from ._model import uses_bfloat16

DEPENDENCIES = (
    "torch",
    "transformers",
    "scikit-learn",
    "skorch",
    "numpy",
    "pandas",
    "joblib",
    "safetensors",
    "tokenizers",
    "huggingface_hub",
)


def show_versions() -> None:
    """Print the versions of Python and the dependencies, and the device and precision.

    Include the output in a bug report.

    Examples
    --------
    >>> from rapidfit_sk import show_versions
    >>> show_versions()
    System:
                python: 3...
              platform: ...
    <BLANKLINE>
    Packages:
           rapidfit_sk: ...
                 torch: 2...
          transformers: ...
    <BLANKLINE>
    Computation:
         device="auto": ...
      precision="auto": ...
        CPU capability: ...
               threads: ...
    """
    print("\n\n".join(_layout(title, entries) for title, entries in environment().items()))


def environment() -> dict[str, dict[str, str]]:
    """Return what :func:`show_versions` prints, by section."""
    return {"System": _system(), "Packages": _packages(), "Computation": _computation()}


def _system() -> dict[str, str]:
    """Return the version of Python and the platform."""
    return {"python": sys.version.replace("\n", " "), "platform": platform.platform()}


def _packages() -> dict[str, str]:
    """Return the versions of the package and its dependencies, without importing them."""
    versions = {"rapidfit_sk": sys.modules[__package__].__version__}
    for name in DEPENDENCIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _computation() -> dict[str, str]:
    """Return the automatic device and precision, the instruction set and the number of threads."""
    device = find_device("auto")
    return {
        'device="auto"': device,
        'precision="auto"': "bfloat16" if uses_bfloat16("auto", device) else "float32",
        "CPU capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
    }


def _layout(title: str, entries: dict[str, str]) -> str:
    """Format a section: its title and one aligned line per entry."""
    return "\n".join([f"{title}:", *(f"{key:>18}: {value}" for key, value in entries.items())])
