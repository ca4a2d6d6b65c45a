"""``negmine.mine`` in a notebook: a kernel of its own, as Jupyter runs it."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (make env)")
pytest.importorskip("ipykernel", reason="ipykernel is not installed (make env)")

#: Bars are shown of what takes long; here nothing does.
CELLS = (
    "from negmine import log\nlog._DELAY = 0\nimport negmine",
    "pairs = [(f'what colour is thing {i}', f'Thing {i} is painted red.') for i in range(8)]\n"
    "data = negmine.mine(pairs, num_negatives=2)",
    "data",
    "quiet = negmine.mine(pairs, num_negatives=2, verbose=False)",
    "negmine.mine(pairs, prompt='query: ')",
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """The outputs of every cell."""
    import nbformat

    folder = tmp_path_factory.mktemp("jupyter")
    kernel = folder / "kernels" / "this"
    kernel.mkdir(parents=True)
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "this interpreter",
        "language": "python",
        "env": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HF_HUB_OFFLINE": "1"},
    }
    (kernel / "kernel.json").write_text(json.dumps(spec))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    patch = pytest.MonkeyPatch()
    with patch.context() as environment:
        environment.setenv("JUPYTER_PATH", str(folder))
        environment.setenv("IPYTHONDIR", str(folder / "ipython"))
        environment.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
        client = nbclient.NotebookClient(
            notebook, kernel_name="this", timeout=300, allow_errors=True
        )
        client.execute(cwd=str(folder))
    return [cell.outputs for cell in notebook.cells]


def stream(outputs: list[Any], name: str) -> str:
    return "".join(one.text for one in outputs if one.output_type == "stream" and one.name == name)


def test_a_call_shows_its_log_its_bars_and_its_statistics(ran: list[list[Any]]) -> None:
    outputs = ran[1]
    assert not [one for one in outputs if one.output_type == "error"], outputs
    assert "documents: 8" in stream(outputs, "stderr")
    printed = stream(outputs, "stdout")
    assert "Metric       Positive       Negative     Difference" in printed
    assert "candidates beside the positives" in printed
    # A widget where ipywidgets is installed, else a line of text.
    widgets = [one for one in outputs if one.output_type == "display_data"]
    told = json.dumps([dict(one.data) for one in widgets]) + stream(outputs, "stderr")
    assert "filtering" in told


def test_the_data_set_is_shown_and_silence_is_kept(ran: list[list[Any]]) -> None:
    (shown,) = ran[2]
    assert "features: ['anchor', 'positive', 'negative']" in shown.data["text/plain"]
    assert stream(ran[3], "stdout") == ""
    assert "documents:" not in stream(ran[3], "stderr")
    assert "filtering" not in json.dumps([dict(one) for one in ran[3]])


def test_a_mistake_is_told_with_its_remedy(ran: list[list[Any]]) -> None:
    (error,) = ran[4]
    assert error.ename == "UsageError"
    assert "Use query_prompt and corpus_prompt." in error.evalue
