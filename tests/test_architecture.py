"""Rules for the code: imports between layers, and side effects that a library must not have."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rapidfit_sk

PACKAGE = Path(rapidfit_sk.__file__).parent

# The layers of CONTRIBUTING.md from bottom to top. A file imports only from layers below its own.
LAYERS = [
    {"_arrays", "_atomic", "_compat", "_forks", "_report", "_typing", "_validation"},
    {"_history", "_html"},
    {"_abstention"},
    {"_parameters"},
    {"config", "datasets", "_folders", "_rows", "_table_files", "_tokens"},
    {"serving"},
    {"_model"},
    {"_training", "testing"},
    {"callbacks", "_bridge"},
    {"_coverage", "_evaluation", "_held_out"},
    {"_fitted", "plotting"},
    {"_inspection"},
    {"_checkpointing", "_label_heads"},
    {"_fitting"},
    {"_model_card", "_schema"},
    {"_persistence", "_show_versions", "_views", "_visual_block"},
    {"_encoder_folder", "_engine", "_hub", "_onnx"},
    {"_html_report"},
    {"_estimator", "_stream"},
    {"_prediction", "_text_classifier"},
    {"_classifier"},
    {"bulk", "model_selection"},
    {"_out_of_fold", "_predict_files"},
    {"_error_report", "_sharing"},
    {"inspection"},
    {"__main__"},
    {"__init__"},
]
PRIVATE_FOLDERS = ["_rows", "_model", "_training", "_inspection"]
WITHOUT_TORCH = ["_compat", "_validation", "config", "datasets", "_rows", "_tokens", "_views"]
FILES = sorted(PACKAGE.rglob("*.py"))


def place_of(path):
    """Return the place of a file: its folder, or its own name if it is directly in the package."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def layer_of(place):
    return next(number for number, layer in enumerate(LAYERS) if place in layer)


def imports_of(path):
    """Yield (absolute module name, imported names) for each import from the package."""
    above = ("rapidfit_sk", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = above[: len(above) - node.level + 1]
            names = [alias.name for alias in node.names]
            if node.module:
                yield ".".join([*base, node.module]), names
            else:
                yield from ((".".join([*base, name]), []) for name in names)


def imports_across(path):
    """Yield (place, path inside it, imported names) for each import from another place."""
    for module, names in imports_of(path):
        _, place, *rest = module.split(".")
        if place != place_of(path):
            yield place, rest, names


def test_every_file_has_its_layer():
    """Each file belongs to exactly one layer, and each name in a layer exists."""
    planned = [place for layer in LAYERS for place in layer]
    assert sorted(planned) == sorted({place_of(path) for path in FILES})


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    """A file imports only from layers below its own, and from a folder, not from a file in it."""
    for place, rest, _ in imports_across(path):
        assert layer_of(place) < layer_of(place_of(path)), f"{path.name} imports {place}"
        assert not rest, f"{path.name} imports from a file in {place}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_internal_imports_are_relative(path):
    """No file imports the package by its name, because the tests of layers ignore such imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        assert not [name for name in names if name.split(".")[0] == "rapidfit_sk"]


@pytest.mark.parametrize("folder", [*PRIVATE_FOLDERS, "callbacks", "plotting"])
def test_no_circular_imports_in_a_folder(folder):
    """The files of a folder have an order in which each file imports only from earlier ones."""
    files = [path for path in FILES if place_of(path) == folder and path.stem != "__init__"]
    needs = {
        path.stem: {m.split(".")[-1] for m, _ in imports_of(path) if f".{folder}." in m}
        for path in files
    }
    while needs:
        free = [name for name, needed in needs.items() if not needed & needs.keys()]
        assert free, f"circular imports among {sorted(needs)}"
        for name in free:
            del needs[name]


@pytest.mark.parametrize("folder", PRIVATE_FOLDERS)
def test_folders_export_exactly_the_used_names(folder):
    """A private folder exports exactly the names that other places import from it."""
    used = {
        name
        for path in FILES
        for place, _, names in imports_across(path)
        if place == folder
        for name in names
    }
    init = ast.parse((PACKAGE / folder / "__init__.py").read_text())
    (exported,) = (
        ast.literal_eval(node.value) for node in init.body if isinstance(node, ast.Assign)
    )
    assert set(exported) == used


def test_rows_and_configuration_work_without_torch():
    """Rows, configuration and views import no torch, not even through other modules."""
    code = (
        "import importlib, sys, types\n"
        "package = types.ModuleType('rapidfit_sk')\n"
        f"package.__path__ = [{str(PACKAGE)!r}]\n"
        "sys.modules['rapidfit_sk'] = package\n"  # skip its __init__, which imports everything
        f"for place in {WITHOUT_TORCH}:\n"
        "    importlib.import_module(f'rapidfit_sk.{place}')\n"
        "    heavy = {'torch', 'skorch', 'transformers'} & set(sys.modules)\n"
        "    assert not heavy, (place, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_import_is_light():
    """The public classes are imported without torch, transformers, skorch and matplotlib."""
    code = (
        "import sys\n"
        "from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TextClassifier\n"
        "from rapidfit_sk.model_selection import TaskStratifiedKFold\n"
        "from rapidfit_sk.datasets import load_support_messages\n"
        "import rapidfit_sk.plotting\n"
        "repr(MultiheadClassifier()), TextClassifier().get_params(), load_support_messages()\n"
        "heavy = {'torch', 'skorch', 'transformers', 'tokenizers', 'safetensors', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_library_code_has_no_side_effects(path):
    """No file prints, asserts, seeds, sets threads or warning filters, or calls torch.load.

    Only `show_versions` prints. A bare except is not allowed either.
    """
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Assert)
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None)
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called != "print" or path.name == "_show_versions.py"
            assert not re.search(
                r"^(torch\.manual_seed|np\.random\.seed|random\.seed|torch\.set_num_threads"
                r"|torch\.load|warnings\.(simple)?filter\w*)$",
                called,
            )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_functions_are_short(path):
    """No function body is longer than 40 lines, so each one fits on a screen."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            has_docstring = ast.get_docstring(node) is not None
            start = node.body[0].end_lineno if has_docstring else node.body[0].lineno - 1
            assert node.end_lineno - start <= 40, node.name


def test_import_is_silent_and_offline():
    """Importing the package prints nothing, opens no connection and seeds no generator."""
    code = (
        "import socket, random\n"
        "def refuse(*args): raise OSError('no network at import')\n"
        "socket.socket.connect = refuse\n"
        "import sklearn, skorch, torch, transformers\n"
        "state = random.getstate(), torch.random.get_rng_state().tolist()\n"
        "import rapidfit_sk, rapidfit_sk.testing, rapidfit_sk.callbacks\n"
        "assert (random.getstate(), torch.random.get_rng_state().tolist()) == state\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
