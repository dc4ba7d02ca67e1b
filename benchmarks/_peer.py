"""Run published packages in separate environments."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path


def ask_peer(python, script, task) -> dict:
    """Run a script of this folder with another Python.

    Parameters
    ----------
    python : str
        Python of an environment that has the package.
    script : str
        Name of the script. It reads task.json and writes answer.json in its working directory.
    task : dict
        Plain data for task.json.

    Returns
    -------
    answer : dict
        Content of answer.json.
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "task.json").write_text(json.dumps(task))
        run = subprocess.run(
            [os.path.abspath(python), Path(__file__).with_name(script)],
            cwd=folder,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            capture_output=True,
            text=True,
        )
        if run.returncode:
            raise RuntimeError(f"{script} failed:\n{run.stderr[-2000:]}")
        return json.loads(Path(folder, "answer.json").read_text())
