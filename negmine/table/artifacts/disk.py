"""The calls that touch files: digests, names, JSON, flushing. An object store would stand here."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from negmine.table import schema as schemas

MANIFEST = "_manifest.json"
JOURNAL = "_journal.jsonl"
_HASHED_BLOCK = 1 << 22


# --- fingerprints -----------------------------------------------------------------------------


def fingerprint(
    stage: str, version: int, params: Mapping[str, Any], inputs: Mapping[str, str]
) -> str:
    """Hash of all that decides an artifact's content.

    Args:
        stage: which stage makes it.
        version: the stage's own version, raised when its code changes what comes out.
        params: output-affecting parameters.
        inputs: fingerprint or content digest of each input.
    """
    identity = {
        "stage": stage,
        "schema": schemas.SCHEMA_VERSION,
        "version": version,
        "params": params,
        "inputs": inputs,
    }
    canonical = json.dumps(identity, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(_bytes(canonical), digest_size=16).hexdigest()


def digest(path: Path) -> str:
    """Hex BLAKE2b-128 of a file's bytes."""
    hasher = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_HASHED_BLOCK):
            hasher.update(block)
    return hasher.hexdigest()


def load_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def name_place(error: BaseException | None, path: Path) -> None:
    """Say where there was no space: Arrow's errors do not name the file that it was writing."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
    if isinstance(error, OSError) and error.filename is None and error.errno in full:
        error.filename = str(path)


def hidden_name(path: Path) -> Path:
    """Where something is written before it is renamed to ``path``."""
    return path.parent / f".{path.name}.tmp"


def manifest_of(path: Path) -> Path:
    """The manifest beside an exported file."""
    # The leading underscore hides it from Parquet readers that are given the folder.
    return path.parent / f"_{path.name}.manifest.json"


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest that describes other artifacts (the index's own, an export file's)."""
    write_json(path, manifest)


def remove_hidden(path: Path) -> None:
    """Remove what an interrupted run left half-written."""
    for leftover in [*path.glob(".*.tmp"), *path.glob("*/.*.tmp")]:
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    hidden = hidden_name(path)
    hidden.write_bytes(_bytes(json.dumps(data, indent=2, ensure_ascii=False) + "\n"))
    flush_to_disk(hidden)
    os.rename(hidden, path)
    flush_to_disk(path.parent)


def _bytes(text: str) -> bytes:
    """JSON text as UTF-8. A file name may hold any bytes: those that are no UTF-8 are escaped."""
    return text.encode("utf-8", "backslashreplace")


def flush_to_disk(path: Path) -> None:
    """fsync a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
