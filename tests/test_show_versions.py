"""`show_versions`, which prints the environment for a bug report."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch

import rapidfit_sk
from rapidfit_sk import _show_versions, show_versions


@pytest.fixture
def shown(capsys):
    """A function that returns the printed entries by name; titles of sections have no value."""

    def show():
        assert show_versions() is None
        printed = capsys.readouterr()
        assert printed.err == ""
        lines = [line.split(":", 1) for line in printed.out.splitlines() if line]
        return {name.strip(): value.strip() for name, value in lines}

    return show


def test_sections_and_entries(shown):
    """System, packages and computation come in this order, with one line per entry."""
    assert list(shown()) == [
        *("System", "python", "platform"),
        *("Packages", "rapidfit_sk", "torch", "transformers", "scikit-learn", "skorch", "numpy"),
        *("pandas", "joblib", "safetensors", "tokenizers", "huggingface_hub"),
        *("Computation", 'device="auto"', 'precision="auto"', "CPU capability", "threads"),
    ]


def test_system(shown, monkeypatch):
    """The full version of Python is on one line, and the platform on another."""
    monkeypatch.setattr(sys, "version", "3.11.7 (main, Dec  4 2023)\n[GCC 12.2.0]")
    entries = shown()
    assert entries["python"] == "3.11.7 (main, Dec  4 2023) [GCC 12.2.0]"
    assert entries["platform"] == platform.platform()


def test_versions_are_the_installed_ones(shown):
    """Each package is shown with its installed version."""
    entries = shown()
    assert entries["rapidfit_sk"] == rapidfit_sk.__version__
    for name in _show_versions.DEPENDENCIES:
        assert entries[name] == version(name)


def test_missing_dependency(shown, monkeypatch):
    """A missing dependency is shown as not installed, and the others keep their versions."""

    def version_without_skorch(name):
        if name == "skorch":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(_show_versions, "version", version_without_skorch)
    entries = shown()
    assert entries["skorch"] == "not installed"
    assert entries["numpy"] == version("numpy")


@pytest.mark.parametrize(
    ("device", "lowered_on", "precision"),
    [("cpu", "cpu", "bfloat16"), ("cpu", "cuda", "float32"), ("cuda", "cuda", "bfloat16")],
)
def test_precision_belongs_to_the_device(shown, monkeypatch, device, lowered_on, precision):
    """The device that "auto" selects is shown, with the precision that "auto" selects on it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "cuda")
    monkeypatch.setattr(
        _show_versions, "uses_bfloat16", lambda chosen, on: (chosen, on) == ("auto", lowered_on)
    )
    entries = shown()
    assert entries['device="auto"'] == device
    assert entries['precision="auto"'] == precision


def test_cpu(shown, monkeypatch):
    """The instruction set and the number of threads are the ones that torch uses."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    entries = shown()
    assert entries["CPU capability"] == "AVX2"
    assert entries["threads"] == "7"


def test_citation_has_the_version_of_the_package():
    """CITATION.cff contains the version of the package."""
    citation = (Path(__file__).parents[1] / "CITATION.cff").read_text()
    assert f"\nversion: {rapidfit_sk.__version__}\n" in citation
