"""Artifacts: folders of parts with a manifest, made whole or not at all."""

from negmine.table.artifacts.disk import (
    JOURNAL,
    MANIFEST,
    digest,
    is_file,
    is_folder,
    is_half_written,
    names_in,
    remove_file,
    touch,
    write_manifest,
)
from negmine.table.artifacts.exported import FileWriter, begin_file
from negmine.table.artifacts.facts import library_versions
from negmine.table.artifacts.plan import Plan, external_input, fingerprint
from negmine.table.artifacts.reading import (
    Artifact,
    file_manifest,
    has_file_manifest,
    is_finished,
    open_artifact,
)
from negmine.table.artifacts.replace import Replace
from negmine.table.artifacts.state import State, is_begun, recorded_file, state_of, state_of_file
from negmine.table.artifacts.writing import Writer, begin

__all__ = [
    "JOURNAL",
    "MANIFEST",
    "Artifact",
    "FileWriter",
    "Plan",
    "Replace",
    "State",
    "Writer",
    "begin",
    "begin_file",
    "digest",
    "external_input",
    "file_manifest",
    "fingerprint",
    "has_file_manifest",
    "is_begun",
    "is_file",
    "is_finished",
    "is_folder",
    "is_half_written",
    "library_versions",
    "names_in",
    "open_artifact",
    "recorded_file",
    "remove_file",
    "state_of",
    "state_of_file",
    "touch",
    "write_manifest",
]
