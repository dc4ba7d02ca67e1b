"""The image of the server: its instructions run in an empty environment, without Docker.

pip downloads the packages of the image, so this is the only test that uses the network.
"""

import json
import os
import re
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

from .test_serve_example import TEXTS, ask, folder  # noqa: F401, a fixture

ROOT = Path(__file__).parents[2]


def instructions():
    """Return the pairs of an instruction and its argument in the Dockerfile."""
    lines = (ROOT / "examples" / "Dockerfile").read_text().splitlines()
    return [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]


def copy_files(argument, app, model):
    """Copy files as COPY does; the folder `model` is the exported classifier."""
    *sources, target = argument.split()
    for source in sources:
        found = model if source == "model" else ROOT / source
        if found.is_dir():
            shutil.copytree(found, app / target)
        else:
            shutil.copy(found, app / target)


@pytest.mark.slow
def test_image(tmp_path, folder):  # noqa: F811
    """The commands of the image install a server that predicts, without torch."""
    app, bare = tmp_path / "app", tmp_path / "bare"
    app.mkdir()
    venv.create(bare, with_pip=True)
    environment = {**os.environ, "PATH": f"{bare / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    for name, argument in instructions():
        if name == "COPY":
            copy_files(argument, app, folder)
        elif name == "RUN":
            subprocess.run(argument, shell=True, cwd=app, env=environment, check=True)
        elif name == "CMD":
            command = json.loads(argument)
    installed = {path.name for path in bare.rglob("site-packages/*")}
    assert {"onnxruntime", "rapidfit_sk"} <= installed
    assert not installed & {"torch", "transformers", "skorch", "sklearn", "pandas"}
    command[command.index("0.0.0.0")] = "127.0.0.1"
    server = subprocess.Popen(
        [*command, "--port", "0"], cwd=app, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        lines = iter(server.stderr.readline, "")
        started = (re.search(r"running on http://127.0.0.1:(\d+)", line) for line in lines)
        port = int(next(found for found in started if found)[1])
        status, found = ask(port, "/predict", {"texts": TEXTS})
    finally:
        server.kill()
        server.communicate()
    assert status == 200
    assert len(json.loads(found)["predictions"]) == len(TEXTS)
