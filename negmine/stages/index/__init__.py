"""``negmine index``: documents, and what sources need of them."""

from negmine.stages.index.children import Made, budget, make_bm25, make_signatures
from negmine.stages.index.documents import DOCUMENTS_VERSION, documents_plan, make_documents
from negmine.stages.index.run import finish, run

__all__ = [
    "DOCUMENTS_VERSION",
    "Made",
    "budget",
    "documents_plan",
    "finish",
    "make_bm25",
    "make_documents",
    "make_signatures",
    "run",
]
