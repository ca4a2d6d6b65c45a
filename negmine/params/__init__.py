"""The parameters of every stage: one frozen dataclass each, the only place an option is declared.

The command line, the recipe reader, the fingerprints and the generated reference all read these
fields, so adding an option is adding a field. This module imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from negmine.params.commands import AuditParams, ReportParams
from negmine.params.export import ExportParams
from negmine.params.filter import FilterParams
from negmine.params.index import IndexParams
from negmine.params.per_model import plain
from negmine.params.rerank import RerankParams
from negmine.params.retrieve import RetrieveParams
from negmine.params.write import WriteParams

Params = (
    IndexParams
    | WriteParams
    | RetrieveParams
    | RerankParams
    | FilterParams
    | ExportParams
    | AuditParams
    | ReportParams
)


def output_affecting(params: Params) -> dict[str, Any]:
    """The parameters that decide what comes out, for the fingerprint and the manifest."""
    return {
        field.name: _plain(getattr(params, field.name))
        for field in dataclasses.fields(params)
        if field.metadata["affects_output"]
        and not (field.metadata["later"] and getattr(params, field.name) == field.default)
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else plain(value)
