"""Publication of a packed model on Hugging Face's hub."""

import re
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError

from speechllm.errors import ConfigError

_UNREACHABLE: Any = HfHubHTTPError.__mro__[1]
"""HTTPError of httpx or httpx2, by the version of huggingface_hub; of a connection it is no OSError."""


def check_repo(repo_id: str) -> None:
    """Make sure that a name is that of a repository of the hub.

    Raises:
        ConfigError: if it is not.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo_id):
        raise ConfigError(f"{repo_id!r}: no name of a repository of the hub, expected USER/NAME; correct it")


def push(folder: Path, repo_id: str, *, private: bool) -> str:
    """Upload a packed model in one commit, to a repository that is created if it is not there.

    Args:
        folder: written by ``Model.save_pretrained``.
        repo_id: ``USER/NAME``.
        private: whether a repository that is created is private; one that is there stays as it is.

    Returns:
        The address of the commit.

    Raises:
        ConfigError: if the hub refuses it or cannot be reached.
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
