"""From what a user wrote (``--model SPEC``) to one model of one revision.

A spec is a hub id (``org/name`` or ``org/name@revision``), a local folder, or
``pkg:PACKAGE/PATH``: a folder inside an installed Python package, which works without a network.
Nothing is loaded here; a folder is read once, to hash it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from negmine.errors import InvalidDataError, MissingDependencyError, MissingInputError

Backend = Literal["torch", "onnx", "http"]
Kind = Literal["bi-encoder", "cross-encoder", "late-interaction", "sparse-encoder", "unknown"]

_HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_TORCH_WEIGHTS = re.compile(r"(?:.*/)?(?:model.*\.safetensors|pytorch_model.*\.bin)")
# Files beside a model that no loader of ours reads: text for people, other frameworks' copies.
_IGNORED_SUFFIXES = frozenset(
    {".md", ".rst", ".h5", ".msgpack", ".ot", ".tflite", ".png", ".jpg", ".svg", ".pdf", ".pyc"}
)
_IGNORED_NAMES = frozenset({"license", "notice", "license.txt", "notice.txt", "readme.txt"})
_IGNORED_FOLDERS = frozenset({"openvino", "__pycache__"})
#: What sentence-transformers, and PyLate before it, call a model of a vector for every token.
_LATE_INTERACTION = ("MultiVectorEncoder", "ColBERT")
#: What it calls a model of the weights of terms (SPLADE and its like).
_SPARSE = "SparseEncoder"
_SPECS = "A model is a hub id (org/name, org/name@revision), a folder, or pkg:PACKAGE/PATH."


@dataclass(frozen=True)
class ModelRef:
    """One model of one revision.

    Attributes:
        spec: what the user wrote.
        location: a local folder, or the hub id to fetch.
        backend: what runs it; ``http`` = a server, see :mod:`negmine.models.served_encoder`.
        kind: what it computes; ``unknown`` where its files do not tell.
        revision: ``sha256:`` of a folder's files, or the hub's commit.
    """

    spec: str
    location: str
    backend: Backend
    kind: Kind
    revision: str

    @property
    def hub_revision(self) -> str | None:
        """The commit to load from the hub; ``None`` for a folder."""
        return None if self.revision.startswith("sha256:") else self.revision


def resolve(spec: str) -> ModelRef:
    """Find the model that ``spec`` names.

    Raises:
        MissingDependencyError: the package of a ``pkg:`` spec is not installed.
        MissingInputError: there is no such folder or hub model.
        InvalidDataError: the folder holds no model.
    """
    if spec.startswith("pkg:"):
        return _from_folder(spec, _package_folder(spec))
    folder = Path(spec).expanduser()
    if spec and folder.is_dir():
        return _from_folder(spec, folder)
    match = _HUB_ID.fullmatch(spec)
    if match is None or spec.startswith((".", "~")):
        raise MissingInputError(f"there is no model folder '{spec}'", where=spec, hint=_SPECS)
    return _from_hub(spec, match["repo"], match["revision"])


def kind_of(spec: str) -> Kind:
    """What the model that ``spec`` names computes; of a folder the weights are not read for it.

    Raises:
        NegmineError: as of :func:`resolve`.
    """
    folder = _package_folder(spec) if spec.startswith("pkg:") else Path(spec).expanduser()
    if not spec or not folder.is_dir():
        return resolve(spec).kind
    return _kind(spec, _model_files(folder), lambda name: read_json(folder / name))


def is_masked_lm(ref: ModelRef) -> bool:
    """Whether a folder holds a masked language model and no modules of sentence-transformers.

    Such a one may be SPLADE's; its files do not tell.
    """
    folder = local_folder(ref)
    architectures = read_json(folder / "config.json").get("architectures") or [""]
    alone = not (folder / "modules.json").is_file()
    return ref.backend == "torch" and alone and architectures[0].endswith("ForMaskedLM")


def local_folder(ref: ModelRef) -> Path:
    """The folder of the model's files, fetched from the hub if they are not on this machine."""
    folder = Path(ref.location)
    if ref.hub_revision is None or folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(ref.location, revision=ref.hub_revision))


def onnx_file(folder: Path) -> Path:
    """The graph to run in a folder: ``model.onnx``, ``onnx/model.onnx`` or the only one."""
    for name in ("model.onnx", "onnx/model.onnx"):
        if (folder / name).is_file():
            return folder / name
    graphs = sorted(folder.rglob("*.onnx"))
    if len(graphs) == 1:
        return graphs[0]
    names = ", ".join(str(graph.relative_to(folder)) for graph in graphs) or "none"
    raise InvalidDataError(
        f"cannot tell which ONNX graph to run (found: {names})",
        where=str(folder),
        hint="Name the one to use model.onnx.",
    )


def weight_bytes(ref: ModelRef) -> int:
    """Bytes of a model's weights on disk; 0 where they are not on this machine yet."""
    folder = Path(ref.location)
    if not folder.is_dir():
        return 0
    if ref.backend == "onnx":
        graph = onnx_file(folder)
        return sum(path.stat().st_size for path in graph.parent.glob(f"{graph.name}*"))
    files = [path for path in folder.rglob("*") if _TORCH_WEIGHTS.fullmatch(path.name)]
    safe = [path for path in files if path.suffix == ".safetensors"]
    return sum(path.stat().st_size for path in safe or files)


def read_json(path: Path) -> dict[str, Any]:
    """A model's JSON file; an empty one where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidDataError(f"unreadable model file: {error}", where=str(path)) from error
    if not isinstance(value, dict):
        raise InvalidDataError("a model's JSON file must hold an object", where=str(path))
    return value


def _package_folder(spec: str) -> Path:
    package, _, inside = spec.removeprefix("pkg:").partition("/")
    if not package.isidentifier():
        raise MissingInputError(f"'{package}' is not a package name", where=spec, hint=_SPECS)
    # find_spec of a top-level name reads the import path only; it does not run the package.
    found = importlib.util.find_spec(package)
    roots = list(found.submodule_search_locations or []) if found else []
    if not roots:
        raise MissingDependencyError(
            f"the Python package '{package}' is not installed",
            where=spec,
            hint=f"pip install {package.replace('_', '-')}",
        )
    folder = Path(roots[0], *PurePosixPath(inside).parts)
    if not folder.is_dir():
        raise MissingInputError(
            f"the package '{package}' holds no folder '{inside}'",
            where=spec,
            hint=f"Looked for {folder}.",
        )
    return folder


def _from_folder(spec: str, folder: Path) -> ModelRef:
    names = _model_files(folder)
    backend = _backend(names)
    if backend is None:
        raise InvalidDataError(
            "the folder holds no model",
            where=str(folder),
            hint="Expected config.json or modules.json with weights, or an .onnx graph with "
            "tokenizer.json.",
        )
    if backend == "torch":
        names = [name for name in names if not name.endswith((".onnx", ".onnx_data"))]
    kind = _kind(spec, names, lambda name: read_json(folder / name))
    return ModelRef(spec, str(folder.resolve()), backend, kind, _folder_hash(folder, names))


def _model_files(folder: Path) -> list[str]:
    """The files that decide a model's output, as sorted relative names."""
    names = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if hidden or not _IGNORED_FOLDERS.isdisjoint(name.parts) or not path.is_file():
            continue
        if path.suffix.lower() in _IGNORED_SUFFIXES or path.name.lower() in _IGNORED_NAMES:
            continue
        names.append(name.as_posix())
    return sorted(names)


def _folder_hash(folder: Path, names: Collection[str]) -> str:
    total = hashlib.sha256()
    for name in names:
        path = folder / name
        at = path.stat()
        digest = _file_hash(path.resolve(), at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns)
        total.update(f"{digest} {len(name)} {name}\n".encode())
    return f"sha256:{total.hexdigest()}"


@lru_cache(maxsize=1024)
def _file_hash(path: Path, *unchanged: int) -> str:
    """The digest of a file, which is read once for each state that it is found in.

    A run of several stages asks for the same models several times.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _backend(names: Collection[str]) -> Backend | None:
    """What runs a model with these files; ``None`` if they are no model."""
    has_weights = any(_TORCH_WEIGHTS.fullmatch(name) for name in names)
    has_graph = any(name.endswith(".onnx") for name in names)
    if has_graph and not has_weights:
        return "onnx" if "tokenizer.json" in names else None
    described = "config.json" in names or "modules.json" in names
    return "torch" if described and has_weights else None


def _kind(spec: str, names: Collection[str], read: Callable[[str], dict[str, Any]]) -> Kind:
    """What the configuration says the model is.

    sentence-transformers 6 writes ``modules.json`` for all kinds and tells them apart by
    ``model_type``, which older bi-encoders lack; a plain transformers folder has only its
    architecture. An ONNX graph without these is told by its outputs when it is opened.

    Raises:
        InvalidDataError: a model of late interaction without its projection.
    """
    if "config_sentence_transformers.json" in names:
        model_type = read("config_sentence_transformers.json").get("model_type")
        if model_type == "CrossEncoder":
            return "cross-encoder"
        if model_type in _LATE_INTERACTION:
            _check_projection(spec, names, read)
            return "late-interaction"
        if model_type == _SPARSE:
            return "sparse-encoder"
        if model_type not in (None, "SentenceTransformer"):
            return "unknown"
    if "modules.json" in names or any(name.startswith("1_Pooling/") for name in names):
        return "bi-encoder"
    if "config.json" not in names:
        return "unknown"
    architectures = read("config.json").get("architectures") or [""]
    if architectures[0] == "HF_ColBERT":
        return "late-interaction"
    if architectures[0].endswith("ForSequenceClassification"):
        return "cross-encoder"
    if architectures[0].endswith("Model"):
        return "bi-encoder"
    return "unknown"


def _check_projection(
    spec: str, names: Collection[str], read: Callable[[str], dict[str, Any]]
) -> None:
    """See that what projects a model's token vectors is among its files.

    Without ``modules.json`` sentence-transformers draws a projection at random, but for Stanford's
    checkpoints, which have it among their weights.
    """
    architectures = read("config.json").get("architectures") if "config.json" in names else None
    if "modules.json" not in names and "HF_ColBERT" not in (architectures or ()):
        raise InvalidDataError(
            "the model has no modules.json, so what projects its token vectors is missing: a "
            "projection would be drawn at random, and so would every score",
            where=spec,
            hint="Name a model of late interaction that is trained and saved as one.",
        )


def _from_hub(spec: str, repo: str, revision: str | None) -> ModelRef:
    from huggingface_hub import HfApi, constants, hf_hub_download
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if constants.HF_HUB_OFFLINE:
        return _from_cache(spec, repo, revision, "HF_HUB_OFFLINE is set")
    try:
        info = HfApi().model_info(repo, revision=revision)
    except GatedRepoError as error:
        raise MissingInputError(
            f"the hub model '{repo}' is gated",
            where=spec,
            hint=f"Ask for access at {constants.ENDPOINT}/{repo} and run `hf auth login`.",
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        missing = "revision" if isinstance(error, RevisionNotFoundError) else "model"
        raise MissingInputError(
            f"the hub has no such {missing}, and there is no such folder either",
            where=spec,
            hint=f"Look at {constants.ENDPOINT}/{repo}. {_SPECS}",
        ) from error
    # No network, a proxy, a server error: the hub's HTTP library (httpx, httpx2) has its own
    # exceptions, and whatever went wrong is named in the message if the cache does not help.
    except Exception as error:
        return _from_cache(spec, repo, revision, f"the hub was not reached ({error})")
    sha = str(info.sha)
    names = [sibling.rfilename for sibling in info.siblings or []]
    backend = _backend(names)
    if backend is None:
        raise InvalidDataError(
            "the hub repository holds no model that sentence-transformers or onnxruntime can load",
            where=spec,
        )

    def read(name: str) -> dict[str, Any]:
        return read_json(Path(hf_hub_download(repo, name, revision=sha)))

    return ModelRef(spec, repo, backend, _kind(spec, names, read), sha)


def _from_cache(spec: str, repo: str, revision: str | None, why: str) -> ModelRef:
    """The revision that was fetched before, for a machine without a network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repo, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise _not_cached(spec, repo, why) from error
    names = _model_files(folder)
    backend = _backend(names)
    if backend is None:
        # Only some files of the repository were fetched, the weights not among them.
        raise _not_cached(spec, repo, why)
    kind = _kind(spec, names, lambda name: read_json(folder / name))
    return ModelRef(spec, str(folder), backend, kind, folder.name)


def _not_cached(spec: str, repo: str, why: str) -> MissingInputError:
    return MissingInputError(
        f"there is no folder '{spec}', and the hub model '{repo}' is not in the local cache; {why}",
        where=spec,
        hint="Run once with a network, or give a folder or pkg:PACKAGE/PATH.",
    )
