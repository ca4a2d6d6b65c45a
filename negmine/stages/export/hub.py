"""A training set's folder on the Hugging Face hub, over ``huggingface_hub``.

The token is the library's own business: it is read from where ``hf auth login`` or ``HF_TOKEN`` put
it, and stands in no message, log or manifest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from negmine import log
from negmine.errors import ConflictError, MachineError, NegmineError, UsageError, did_you_mean
from negmine.formats.card import TAG
from negmine.table.artifacts.reading import Artifact

#: Files of an earlier push that would be taken for this one's.
_OURS = re.compile(r"(_heldout/|_queries/|_documents/)?part-\d{5}\.[\w.]+")
#: What the library has spoken HTTP with.
_CLIENTS = ("httpcore", "httpx", "httpx2", "requests", "urllib3")
_AGAIN = "Run the same command again: what was made stays, and only the push is left."
_LOG_IN = "Run hf auth login, or set HF_TOKEN, with a token that may write (HUB/settings/tokens)."


@dataclass(frozen=True)
class Target:
    """A data set on the hub that may be written to.

    Attributes:
        api: the hub's client.
        name: OWNER/NAME.
        private: whether only its owner sees it.
        exists: whether it is there already.
    """

    api: Any
    name: str
    private: bool
    exists: bool


def open_target(name: str, *, public: bool) -> Target:
    """Ask the hub who we are and whether the data set is there; nothing is written.

    Args:
        name: OWNER/NAME.
        public: whether all may see it.

    Raises:
        UsageError: there is no token, it is not accepted, or may not write for the owner.
        ConflictError: the data set is there, and for others to see than was asked for, or with
            files that a push would replace and that negmine did not put there.
        MachineError: the hub is not reached.
    """
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.errors import RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        raise UsageError(
            "--push: HF_HUB_OFFLINE is set",
            hint="Unset it, or leave --push out: the folder can be pushed later.",
        )
    if get_token() is None:
        raise UsageError("--push: there is no token for the hub", hint=_log_in())
    api = HfApi()
    with _told(name):
        _check_owner(name.partition("/")[0], api.whoami())
        try:
            found = api.repo_info(name, repo_type="dataset")
        except RepositoryNotFoundError:
            return Target(api, name, not public, exists=False)
    if bool(found.private) == public:
        is_, flag = ("private", "Leave --public out") if public else ("public", "Say --public")
        raise ConflictError(
            f"--push: the data set {name} is there, and {is_}",
            hint=f"{flag}, change it on the hub, or choose another name.",
        )
    theirs = [one.rfilename for one in found.siblings or [] if _OURS.fullmatch(one.rfilename)]
    if theirs and TAG not in (found.tags or []):
        raise ConflictError(
            f"--push: the data set {name} has files that negmine did not put there ({theirs[0]})",
            hint=f"Choose another name, or remove them on the hub; what negmine pushed has '{TAG}' "
            "among the tags of its README.md.",
        )
    return Target(api, name, not public, exists=True)


def _check_owner(owner: str, me: dict[str, Any]) -> None:
    """See that the token may write for an owner.

    Raises:
        UsageError: it is neither the user nor an organisation of theirs.
    """
    owners = [me["name"], *(one["name"] for one in me.get("orgs") or [])]
    if owner not in owners:
        raise UsageError(
            f"--push: the token of {me['name']} may not write for '{owner}'",
            hint=did_you_mean(owner, owners),
        )


def push(target: Target, folder: Artifact, card: str) -> None:
    """Put an exported folder on the hub, as one commit.

    Its manifest stays here: it tells of this machine. Parts of an earlier push go.

    Args:
        target: where.
        folder: what was exported; its files are checked against their digests.
        card: the README.

    Raises:
        NegmineError: see :func:`open_target`.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, constants

    names = [name for name in folder.files if _OURS.fullmatch(name)]
    files: list[Any] = [CommitOperationAdd(name, str(folder.file(name))) for name in names]
    files.append(CommitOperationAdd("README.md", card.encode()))
    with _told(target.name):
        if target.exists:
            there = target.api.list_repo_files(target.name, repo_type="dataset")
            stale = [name for name in there if _OURS.fullmatch(name) and name not in names]
            files += [CommitOperationDelete(name) for name in stale]
        else:
            target.api.create_repo(target.name, repo_type="dataset", private=target.private)
        target.api.create_commit(
            target.name, files, commit_message="Export of negmine", repo_type="dataset"
        )
    seen = "private" if target.private else "public"
    log.event(
        f"export: pushed {len(names)} files and the card to "
        f"{constants.ENDPOINT}/datasets/{target.name} ({seen}); "
        f'load_dataset("{target.name}") reads it',
        pushed=target.name,
        private=target.private,
    )


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What the hub refuses, in words that mend it, and without its token."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except NegmineError:
        raise
    except HfHubHTTPError as error:
        _refused(name, error.response.status_code, error.server_message or "")
    except Exception as error:
        # No network, a proxy, a time-out: the library's HTTP client has exceptions of its own.
        client = type(error).__module__.partition(".")[0]
        if not isinstance(error, OSError) and client not in _CLIENTS:
            raise
        raise MachineError(
            f"--push: the hub was not reached ({type(error).__name__})", where=name, hint=_AGAIN
        ) from None


def _refused(name: str, status: int, message: str) -> NoReturn:
    """Say what an answer of the hub means.

    Raises:
        UsageError: the token is not accepted, or may not write.
        MachineError: anything else.
    """
    from huggingface_hub import get_token

    token = get_token()
    said = message.replace(token, "...") if token else message
    if status == 401:
        raise UsageError("--push: the hub does not accept the token", hint=_log_in()) from None
    if status in (403, 404):
        raise UsageError(
            f"--push: the token may not write to {name}" + (f" ({said})" if said else ""),
            hint=_log_in(),
        ) from None
    raise MachineError(
        f"--push: the hub answered {status}" + (f" ({said})" if said else ""),
        where=name,
        hint=_AGAIN,
    ) from None


def _log_in() -> str:
    from huggingface_hub import constants

    return _LOG_IN.replace("HUB", constants.ENDPOINT)
