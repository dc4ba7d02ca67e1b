"""The house: imports point inward, and nothing is done that a library must not do."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rapidfit_sk

PACKAGE = Path(rapidfit_sk.__file__).parent

# From the inside out: a room imports from rooms before it. CONTRIBUTING.md draws the same list.
ROOMS = [
    "_compat",
    "_validation",
    "config",
    "_tables",
    "_labels",
    "_splits",
    "_sampling",
    "_metrics",
    "_calibration",
    "_probes",
    "_randomness",
    "_encoders",
    "_tokens",
    "_batches",
    "_pooling",
    "_heads",
    "_module",
    "_activations",
    "_memory",
    "_losses",
    "_net",
    "_bridge",
    "callbacks",
    "_prediction",
    "_training",
    "_persistence",
    "_views",
    "_classifier",
    "model_selection",
    "datasets",
    "testing",
    "__init__",
]
WITHOUT_TORCH = [
    "_validation", "config", "_tables", "_labels", "_splits", "_sampling", "_metrics",
    "_calibration", "_probes", "_tokens",
    "_views", "datasets",
]  # fmt: skip
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports_of(path):
    """Yield (room or outside module, whether it is ours) for each import of a file."""
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name.split(".")[0], False
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0], False
        elif isinstance(node, ast.ImportFrom):
            if node.level < depth:  # within callbacks/
                continue
            for name in (
                [node.module.split(".")[0]] if node.module else [a.name for a in node.names]
            ):
                yield name, True


def test_every_file_has_its_room():
    """No file stands outside of the plan, and no room is empty."""
    assert {room_of(path) for path in FILES} == set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_inward(path):
    """A module imports only from rooms before its own."""
    here = ROOMS.index(room_of(path))
    for name, is_ours in imports_of(path):
        if is_ours:
            assert ROOMS.index(name) < here, f"{path.name} imports {name}"


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_rooms_without_torch(room):
    """Data, configuration and views know nothing of torch."""
    outside = {name for name, is_ours in imports_of(PACKAGE / f"{room}.py") if not is_ours}
    assert not outside & {"torch", "skorch", "transformers"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_a_library_must_not_do(path):
    """No print, assert, global seed, thread count, warning filter, bare except or torch.load."""
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Assert)
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None)
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called != "print"
            assert not re.search(
                r"^(torch\.manual_seed|np\.random\.seed|random\.seed|torch\.set_num_threads"
                r"|torch\.load|warnings\.(simple)?filter\w*)$",
                called,
            )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_functions_are_short(path):
    """No function body is longer than what fits on a screen."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            has_docstring = ast.get_docstring(node) is not None
            start = node.body[0].end_lineno if has_docstring else node.body[0].lineno - 1
            assert node.end_lineno - start <= 45, node.name


def test_import_is_silent_and_offline():
    """Importing the package prints nothing, opens no connection and seeds nothing."""
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
