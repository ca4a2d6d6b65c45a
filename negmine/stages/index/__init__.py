"""``negmine index``: documents, and what sources need of them."""

from negmine.sources.child import Made
from negmine.stages.index.children import budget, children_of
from negmine.stages.index.documents import DOCUMENTS_VERSION, documents_plan, make_documents
from negmine.stages.index.run import finish, run

__all__ = [
    "DOCUMENTS_VERSION",
    "Made",
    "budget",
    "children_of",
    "documents_plan",
    "finish",
    "make_documents",
    "run",
]
