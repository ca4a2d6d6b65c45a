"""``negmine index``: documents, and what sources need of them."""

from negmine.sources.child import Made
from negmine.stages.index.children import budget, children_of
from negmine.stages.index.documents import (
    DOCUMENTS_VERSION,
    documents_plan,
    make_documents,
    planned_documents,
)
from negmine.stages.index.run import finish, is_foreign, open_base, run

__all__ = [
    "DOCUMENTS_VERSION",
    "Made",
    "budget",
    "children_of",
    "documents_plan",
    "finish",
    "is_foreign",
    "make_documents",
    "open_base",
    "planned_documents",
    "run",
]
