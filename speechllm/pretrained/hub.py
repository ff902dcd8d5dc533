"""Upload of a packed model to Hugging Face's hub."""

import re
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError

from speechllm.errors import ConfigError

_UNREACHABLE: Any = HfHubHTTPError.__mro__[1]
"""HTTPError of httpx or httpx2, depending on huggingface_hub; connection errors of this class are not OSErrors."""


def check_repo(repo_id: str) -> None:
    """Check that a name is a valid name of a repository of the hub.

    Raises:
        ConfigError: if it is not.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo_id):
        raise ConfigError(f"{repo_id!r}: not the name of a repository of the hub, expected USER/NAME; correct it")


def push(folder: Path, repo_id: str, *, private: bool) -> str:
    """Upload a packed model in one commit; create the repository if it does not exist.

    Args:
        folder: directory written by ``Model.save_pretrained``.
        repo_id: ``USER/NAME``.
        private: whether a new repository is private; an existing repository is not changed.

    Returns:
        The address of the commit.

    Raises:
        ConfigError: if the hub rejects the model or cannot be reached.
    """
    api = huggingface_hub.HfApi()
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Upload with speechllm")
    except (OSError, ValueError, _UNREACHABLE) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"{repo_id}: cannot be uploaded to {api.endpoint}: {reason}; log in with `hf auth login`, or set HF_TOKEN"
        ) from error
    return commit.commit_url
