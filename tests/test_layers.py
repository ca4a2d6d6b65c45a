"""The house rules that a reader of the imports can check."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "negmine"
HEAVY = {"torch", "faiss", "jnius", "transformers", "sentence_transformers", "onnxruntime"}

#: Layer -> negmine packages and modules that it may import, besides those of its own layer.
ALLOWED = {
    "errors": set(),
    "params": set(),
    "log": set(),
    "interrupts": {"errors", "log"},
    "memory": {"errors"},
    "plugins": {"errors"},
    "table": {"errors", "interrupts", "log", "memory"},
    "starter": {"errors", "log", "table"},
    "bounds": {"errors"},
    "recipe": {"bounds", "errors", "params", "table"},
    "models": {"errors", "log"},
    "sources": {"errors", "log", "memory", "models", "table", "jvm"},
    "scorers": {"errors", "models", "params", "plugins"},
    "formats": {"errors", "params", "plugins", "table"},
    "batchers": {"table"},
    "samplers": {"table", "calibration"},
}


def imports(path: Path) -> set[str]:
    """Dotted names that a module imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer(dotted: str) -> str | None:
    parts = dotted.split(".")
    return parts[1] if parts[0] == "negmine" and len(parts) > 1 else None


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_dependencies_run_one_way(name: str) -> None:
    files = [PACKAGE / f"{name}.py"] if (PACKAGE / f"{name}.py").exists() else None
    for path in files or sorted((PACKAGE / name).rglob("*.py")):
        used = {found for found in map(layer, imports(path)) if found is not None}
        # "from negmine import __version__" is no layer.
        forbidden = used - ALLOWED[name] - {name, "__version__"}
        assert not forbidden, f"{path.relative_to(PACKAGE)} imports {sorted(forbidden)}"


def test_nothing_but_the_pipeline_knows_of_dry_runs() -> None:
    for path in PACKAGE.rglob("*.py"):
        relative = path.relative_to(PACKAGE)
        if relative.parts[0] != "estimate" and relative.name != "pipeline.py":
            assert "estimate" not in set(map(layer, imports(path))), relative


def test_stages_do_not_import_each_other() -> None:
    stages = {"index", "retrieve", "rerank", "filter", "export"}
    for stage in stages:
        others = {f"negmine.stages.{other}" for other in stages - {stage}}
        alone = PACKAGE / "stages" / f"{stage}.py"
        for path in [alone] if alone.exists() else (PACKAGE / "stages" / stage).glob("*.py"):
            used = {".".join(found.split(".")[:3]) for found in imports(path)}
            assert not used & others, path.name


@pytest.mark.parametrize("folder", ["rules", "formats"])
def test_rules_and_formats_do_no_io(folder: str) -> None:
    for path in (PACKAGE / folder).rglob("*.py"):
        assert not {name.split(".")[0] for name in imports(path)} & {
            "os",
            "pathlib",
            "io",
            "shutil",
        }


def test_only_the_table_package_writes_files() -> None:
    """Nothing else opens an output file (the temporary copy of stdin is no result)."""
    for path in PACKAGE.rglob("*.py"):
        relative = path.relative_to(PACKAGE)
        if relative.parts[0] == "table" or relative.name == "inputs.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert not name.endswith((".write_text", ".write_bytes", "pq.write_table")), (
                    relative
                )
                if name.endswith("open") and len(node.args) > 1:
                    mode = ast.unparse(node.args[1])
                    assert "w" not in mode, f"{relative}: {ast.unparse(node)}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        *(
            [stage, "--help"]
            for stage in (
                "index",
                "retrieve",
                "rerank",
                "filter",
                "export",
                "init",
                "run",
                "inspect",
                "report",
                "doctor",
            )
        ),
    ],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "sys.argv = ['negmine', *sys.argv[1:]]\n"
        "from negmine.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print('IMPORTED', *{name.split('.')[0] for name in sys.modules})\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=os.environ,
        check=True,
    )
    assert "Usage: negmine" in result.stdout
    imported = set(result.stdout.split("IMPORTED", 1)[1].split())
    assert "typer" in imported
    assert not imported & (HEAVY | {"pyarrow", "numpy", "pandas"})
