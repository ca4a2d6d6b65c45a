from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from negmine.errors import InvalidDataError, MissingDependencyError, MissingInputError
from negmine.models.resolve import resolve

SHA = "1234567890123456789012345678901234567890"


def model_folder(folder: Path, **files: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    base = {"config.json": {"architectures": ["BertModel"]}, "model.safetensors": "weights"}
    for name, content in {**base, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({}, "bi-encoder"),
        ({"config.json": {"architectures": ["XForSequenceClassification"]}}, "cross-encoder"),
        ({"config.json": {"architectures": ["BertForMaskedLM"]}}, "unknown"),
        ({"config.json": {}}, "unknown"),
        ({"modules.json": "[]", "config.json": {}}, "bi-encoder"),
        ({"1_Pooling/config.json": {}, "config.json": {}}, "bi-encoder"),
        (
            {
                "modules.json": "[]",
                "config_sentence_transformers.json": {"model_type": "CrossEncoder"},
            },
            "cross-encoder",
        ),
        (
            {"modules.json": "[]", "config_sentence_transformers.json": {"prompts": {}}},
            "bi-encoder",
        ),
        (
            {
                "modules.json": "[]",
                "config_sentence_transformers.json": {"model_type": "SparseEncoder"},
            },
            "sparse-encoder",
        ),
    ],
)
def test_kind(tmp_path: Path, files: dict[str, object], kind: str) -> None:
    ref = resolve(str(model_folder(tmp_path / "m", **files)))
    assert (ref.kind, ref.backend) == (kind, "torch")


def test_kind_of_what_sentence_transformers_saves(
    tiny_bi: Path, tiny_cross: Path, tmp_path: Path
) -> None:
    from sentence_transformers import CrossEncoder

    CrossEncoder(str(tiny_cross), device="cpu").save_pretrained(str(tmp_path / "saved"))
    assert resolve(str(tiny_bi)).kind == "bi-encoder"
    assert resolve(str(tiny_cross)).kind == "cross-encoder"
    assert resolve(str(tmp_path / "saved")).kind == "cross-encoder"


def test_revision_follows_what_decides_the_output(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    copy = model_folder(tmp_path / "elsewhere" / "m")
    before = resolve(str(folder)).revision
    assert before.startswith("sha256:")
    assert resolve(str(copy)).revision == before
    for noise in ("README.md", ".gitattributes", "tf_model.h5", "openvino/model.xml"):
        model_folder(folder, **{noise: "changed"})
    assert resolve(str(folder)).revision == before
    seen = {before}
    for part in ("model.safetensors", "tokenizer.json", "1_Pooling/config.json", "vocab.txt"):
        model_folder(folder, **{part: "{ }"})
        seen.add(resolve(str(folder)).revision)
    assert len(seen) == 5


def test_onnx_needs_a_tokenizer_and_no_weights(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m", **{"model.onnx": "graph", "tokenizer.json": "{}"})
    assert resolve(str(folder)).backend == "torch"
    (folder / "model.safetensors").unlink()
    assert resolve(str(folder)).backend == "onnx"
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InvalidDataError, match="holds no model"):
        resolve(str(folder))


def test_package_folder_is_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "explosive_pkg"
    model_folder(package / "data" / "m")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    ref = resolve("pkg:explosive_pkg/data/m")
    assert ref.location == str(package / "data" / "m")
    assert "explosive_pkg" not in sys.modules
    with pytest.raises(MissingInputError, match="no folder 'data/x'"):
        resolve("pkg:explosive_pkg/data/x")


def test_missing_package() -> None:
    with pytest.raises(MissingDependencyError) as caught:
        resolve("pkg:no_such_package/model")
    assert caught.value.hint == "pip install no-such-package"


@pytest.mark.parametrize("spec", ["./nope", "/no/such/folder", "bare-name", "~/nope", "a/b/c", ""])
def test_missing_folder(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingInputError, match="no model folder"):
        resolve(spec)


def in_process(*specs: str, **env: str) -> list[str]:
    """Resolve in a process of its own: huggingface_hub reads its environment on import."""
    code = (
        "import sys; from negmine.models.resolve import resolve; from negmine.errors import *\n"
        "for spec in sys.argv[1:]:\n"
        "    try: print(repr(resolve(spec)))\n"
        "    except NegmineError as error: print(repr(error), repr(str(error)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *specs],
        env={**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1", **env},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    repo = tmp_path / "cache" / "models--org--name"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(SHA)
    model_folder(repo / "snapshots" / SHA, **{"modules.json": "[]"})
    shutil.copytree(repo, tmp_path / "cache" / "models--org--part")
    (tmp_path / "cache" / "models--org--part" / "snapshots" / SHA / "model.safetensors").unlink()
    return tmp_path / "cache"


def test_hub_id_from_the_cache_when_offline(cache: Path) -> None:
    found, missing, partial = in_process(
        "org/name", "org/other", "org/part", HF_HUB_OFFLINE="1", HF_HUB_CACHE=str(cache)
    )
    assert f"backend='torch', kind='bi-encoder', revision='{SHA}'" in found
    assert missing.startswith("MissingInputError")
    assert "HF_HUB_OFFLINE is set" in missing
    # The weights were never fetched.
    assert "'org/part' is not in the local cache" in partial


class _Hub(BaseHTTPRequestHandler):
    """The one page of the hub's API that tells a revision."""

    def do_GET(self) -> None:
        known = self.path.split("?")[0].startswith("/api/models/org/name")
        if known:
            files = ["modules.json", "model.safetensors", "1_Pooling/config.json"]
            body = {"id": "org/name", "sha": SHA, "siblings": [{"rfilename": f} for f in files]}
        else:
            body = {"error": "Repository not found"}
        payload = json.dumps(body).encode()
        self.send_response(200 if known else 404)
        if not known:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_hub_id_online(hub: str, tmp_path: Path) -> None:
    found, missing = in_process(
        "org/name@main",
        "org/other",
        HF_ENDPOINT=hub,
        HF_HUB_CACHE=str(tmp_path),
        HF_HUB_OFFLINE="0",
    )
    assert f"location='org/name', backend='torch', kind='bi-encoder', revision='{SHA}'" in found
    assert missing.startswith("MissingInputError")
    assert "the hub has no such model" in missing


def test_hub_unreachable_falls_back_to_the_cache(cache: Path) -> None:
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "0"}
    assert f"revision='{SHA}'" in in_process("org/name", **env)[0]


def test_importing_stays_light() -> None:
    code = (
        "import sys, negmine.models.resolve, negmine.models.encoders, "
        "negmine.models.cross_encoders, negmine.models.devices\n"
        "heavy = {'torch', 'transformers', 'onnxruntime', 'tokenizers', 'huggingface_hub'}\n"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "set()", done.stderr
