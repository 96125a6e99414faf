"""Upload of an exported encoder to the Hugging Face Hub, from where timm loads it."""

from __future__ import annotations

from pathlib import Path

from equissl.errors import UserError

FILES = ("config.json", "model.safetensors", "README.md")


def check_hub(hub: str) -> None:
    """Check the name of a repository.

    Raises:
        UserError: it is not USER/NAME as the Hub accepts it.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(hub)
    except HFValidationError as error:
        raise UserError(f"hub={hub!r}: expected USER/NAME: {error}") from error
    if "/" not in hub:
        raise UserError(f"hub={hub!r}: expected USER/NAME, the owner first")


def upload(folder: Path, hub: str, private: bool = False) -> str:
    """Upload an export; what is in the repository beside its files stays there.

    The address of the Hub and the token are huggingface_hub's own: ``HF_ENDPOINT``, ``HF_TOKEN``, or that of
    ``hf auth login``.

    Args:
        hub: USER/NAME; the repository is made if there is none.
        private: whether a new repository is.

    Returns:
        The address of the repository.

    Raises:
        UserError: no token, no permission, or no connection; the folder is complete.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        address = api.create_repo(hub, exist_ok=True, private=private or None)
        api.upload_folder(
            repo_id=hub, folder_path=folder, allow_patterns=list(FILES), commit_message="Upload by equissl"
        )
    except Exception as error:  # also of the HTTP library, which is another in each version of the client
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"hub={hub}: not uploaded: {reason}. The export in {str(folder)!r} is complete: log in with "
            f"`hf auth login` or set HF_TOKEN, then run the same command again, or `hf upload {hub} {folder}`"
        ) from error
    return str(address)
