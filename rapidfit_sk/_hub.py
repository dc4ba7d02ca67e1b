"""Share fitted classifiers on the Hugging Face hub: plain folders, as `save` writes them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import HfApi, constants, snapshot_download

from ._folders import CHECKSUMS
from ._parameters import ParameterGroup
from ._persistence import (
    CARD,
    DESCRIPTION,
    TOKENIZER,
    WEIGHTS,
    load_classifier,
    save_classifier,
)
from ._validation import boolean, check_argument, none, path, text

_FILES = [DESCRIPTION, WEIGHTS, CHECKSUMS, f"{TOKENIZER}/*"]
_PLACEHOLDER = '"OWNER/NAME"'

_Classifier = TypeVar("_Classifier", bound=ParameterGroup)


def push_classifier(
    classifier: Any,
    repo_id: str,
    *,
    private: bool | None,
    token: str | bool | None,
    revision: str | None,
    commit_message: str,
) -> str:
    """Upload a fitted classifier; see :meth:`MultiheadClassifier.push_to_hub`."""
    check_argument("repo_id", repo_id, text())
    check_argument("private", private, boolean() | none)
    check_argument("revision", revision, text() | none)
    check_argument("commit_message", commit_message, text())
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent, "classifier")
        save_classifier(classifier, folder)
        _name_repository(folder / CARD, repo_id)
        with _clear_errors(repo_id, "uploaded to"):
            repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            if revision is not None:
                api.create_branch(repo_id, branch=revision, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                revision=revision,
                commit_message=commit_message,
                # Another tokenizer may have had other files, which load would refuse.
                delete_patterns=[f"{TOKENIZER}/*"],
            )
    return commit.commit_url


def _name_repository(card: Path, repo_id: str):
    """Replace the placeholder in the example of a card by the name of the repository."""
    content = card.read_text("utf-8")
    card.write_text(content.replace(f"({_PLACEHOLDER})", f'("{repo_id}")'), "utf-8")


def pull_classifier(
    kind: type[_Classifier],
    repo_id: str | os.PathLike[str],
    *,
    revision: str | None,
    token: str | bool | None,
    local_files_only: bool,
) -> _Classifier:
    """Load a classifier from the hub; see :meth:`MultiheadClassifier.from_pretrained`."""
    check_argument("repo_id", repo_id, path())
    check_argument("revision", revision, text() | none)
    check_argument("local_files_only", local_files_only, boolean())
    if Path(repo_id).is_dir():
        return load_classifier(kind, repo_id)
    with _clear_errors(repo_id, "downloaded from"):
        folder = snapshot_download(
            str(repo_id),
            revision=revision,
            token=token,
            local_files_only=local_files_only,
            allow_patterns=_FILES,
        )
    if not Path(folder, DESCRIPTION).exists():
        raise ValueError(
            f"The repository {str(repo_id)!r} has no file {DESCRIPTION!r}, so it is not a "
            "classifier of rapidfit_sk. Pass a repository that push_to_hub wrote. For an encoder, "
            "set training.model_name."
        )
    return load_classifier(kind, folder)


@contextlib.contextmanager
def _clear_errors(repo_id: str | os.PathLike[str], done: str) -> Iterator[None]:
    """Convert any error of the hub client to an OSError that says what to do.

    The exceptions of the client depend on its version and on its HTTP library.
    """
    try:
        yield
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise OSError(
            f"The classifier could not be {done} the repository {str(repo_id)!r} on the Hugging "
            f"Face hub: {reason} {_advice(error)}"
        ) from error


def _advice(error: Exception) -> str:
    """Return what the user can do after an error of the hub client."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if constants.HF_HUB_OFFLINE:
        return "The variable HF_HUB_OFFLINE is set. Unset it, or pass a folder that save wrote."
    if "RevisionNotFoundError" in kinds:
        return "Pass a 'revision' that exists: a branch, a tag or a commit."
    if "HFValidationError" in kinds:
        return "Pass a name of the form 'owner/name', or an existing folder."
    if "HfHubHTTPError" in kinds and "LocalEntryNotFoundError" not in kinds:
        return (
            "Check the name of the repository. Uploads and private repositories need a token: log "
            "in with 'hf auth login', or pass 'token'."
        )
    return "Check the network, or pass a folder that save wrote."
