"""The house rules that a reader of the imports can check."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "negmine"
HEAVY = {
    *("torch", "faiss", "jnius", "transformers", "sentence_transformers", "onnxruntime"),
    *("httpx2", "ray", "fsspec", "s3fs", "gcsfs"),
}

#: The floors of the house, from the ground up: a room imports from floors below its own. Rooms of
#: one floor do not know each other.
FLOORS = (
    {"addresses"},
    {"control_groups", "errors"},
    {"engine", "log", "memory", "plugins", "processors"},
    {"buckets", "interrupts"},
    {"table"},
    {"endpoints"},
    {"dedup", "edits", "formats", "inputs", "models", "params", "sampling"},
    {"learning", "scorers"},
    {"rules", "sources"},
    {"stages"},
    {"cleaning", "commands", "recipe", "rounds"},
    {"pipeline"},
    {"api", "cli", "extend", "ledger"},
)
#: What has no floor: the package's own face, and the way into it.
DOORS = {"__init__", "__main__"}


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


def rooms() -> dict[str, list[Path]]:
    """Every room of the package and its files."""
    return {
        entry.stem: [entry] if entry.is_file() else sorted(entry.rglob("*.py"))
        for entry in sorted(PACKAGE.iterdir())
        if entry.suffix == ".py" or (entry / "__init__.py").is_file()
    }


def test_every_room_has_a_floor() -> None:
    drawn = [room for floor in FLOORS for room in floor]
    assert sorted(drawn) == sorted(set(rooms()) - DOORS)


@pytest.mark.parametrize("floor", range(len(FLOORS)))
def test_no_import_runs_up(floor: int) -> None:
    below = set().union(*FLOORS[:floor])
    for room in sorted(FLOORS[floor]):
        for path in rooms()[room]:
            used = {found for found in map(layer, imports(path)) if found is not None}
            # "from negmine import __version__" is no room.
            up = used - below - {room, "__version__"}
            assert not up, f"{path.relative_to(PACKAGE)} imports {sorted(up)}"


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Some circle of a graph, by depth-first search; empty if there is none."""
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return path[path.index(node) :]
        if node in done:
            return []
        for following in sorted(graph[node]):
            if found := walk(following, [*path, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := walk(node, []))), [])


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    modules = {dotted(path): path for path in PACKAGE.rglob("*.py")}
    graph = {}
    for name, path in modules.items():
        used = set()
        for found in imports(path):
            # "from package import module" reads the module, "from module import name" that module.
            used |= {found} if found in modules else set()
        # A package's face is above its rooms, and what names a room through it means the room.
        faces = {used_name for used_name in used if name.startswith(f"{used_name}.")}
        graph[name] = used - faces - {name}
    assert circle(graph) == []


def test_plugins_see_one_door() -> None:
    """The example of another package imports ``negmine.extend`` and nothing else of negmine."""
    from negmine import extend

    for path in (PACKAGE.parent / "examples").rglob("*.py"):
        used = {name for name in imports(path) if name.split(".")[0] == "negmine"}
        assert used <= {"negmine.extend", *(f"negmine.extend.{name}" for name in extend.__all__)}
    assert all(hasattr(extend, name) for name in extend.__all__)


def test_what_plugins_see_is_documented() -> None:
    """Everything behind the door has a docstring: it is another package's only manual."""
    import inspect as python_inspect

    from negmine import extend

    for name in extend.__all__:
        assert python_inspect.getdoc(getattr(extend, name)), name


def test_a_circle_would_be_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_nothing_but_the_pipeline_knows_of_dry_runs() -> None:
    for path in PACKAGE.rglob("*.py"):
        relative = path.relative_to(PACKAGE)
        if relative.parts[:2] != ("commands", "estimate") and relative.name != "pipeline.py":
            known = {
                found for found in imports(path) if found.startswith("negmine.commands.estimate")
            }
            assert not known, relative


def test_stages_do_not_import_each_other() -> None:
    stages = {"index", "write", "retrieve", "rerank", "filter", "export"}
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


def test_only_candidates_walk_the_lineage() -> None:
    """What lies behind a table is asked of it: ``Candidates`` alone walks to texts and vectors."""
    for path in PACKAGE.rglob("*.py"):
        relative = path.relative_to(PACKAGE)
        if relative.as_posix() == "table/candidates.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                assert node.attr != "ancestor", f"{relative}:{node.lineno}"


def test_only_the_table_package_writes_files() -> None:
    """Nothing else opens an output file.

    Standard input's temporary copy and a switch of the kernel are no results.
    """
    for path in PACKAGE.rglob("*.py"):
        relative = path.relative_to(PACKAGE)
        if relative.parts[0] == "table" or relative.as_posix() in {"inputs/stdin.py", "memory.py"}:
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


def test_nobody_but_the_engine_goes_over_unfinished_parts() -> None:
    """Whether a part is finished is asked by name where the name is fixed, else by the engine."""
    for path in PACKAGE.rglob("*.py"):
        relative = path.relative_to(PACKAGE)
        if relative.parts[0] in {"engine", "table"}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.For | ast.comprehension):
                loop = node.iter if isinstance(node, ast.comprehension) else node
                asked = [
                    call
                    for call in ast.walk(loop)
                    if isinstance(call, ast.Call) and ast.unparse(call.func) == "writer.has"
                ]
                assert not asked, f"{relative}: {ast.unparse(node)[:80]}"


#: What touches files, as methods of paths and as modules.
TOUCHES = {
    *("open", "rename", "unlink", "mkdir", "rmdir", "glob", "rglob", "iterdir", "stat", "exists"),
    *("is_file", "is_dir", "read_text", "read_bytes", "write_text", "write_bytes", "touch"),
    *("memory_map", "input_stream", "output_stream"),
}


def test_only_one_module_of_the_artifacts_touches_files() -> None:
    """An object store would take its place; a folder's Parquet files are read through it."""
    for path in (PACKAGE / "table" / "artifacts").glob("*.py"):
        if path.name == "disk.py":
            continue
        used = {name.split(".")[0] for name in imports(path)}
        assert not used & {"shutil", "fcntl", "tempfile", "io"}, path.name
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            called = ast.unparse(node.func)
            if called.startswith(("disk.", "files.", "os.getpid", "os.strerror", "resource.")):
                continue
            assert node.func.attr not in TOUCHES, f"{path.name}: {called}"
            assert not called.startswith("os."), f"{path.name}: {called}"


def test_a_chain_on_this_machine_needs_no_cluster_and_no_server(tmp_path: Path) -> None:
    """As where neither is installed: an import of one of them ends the run."""
    texts = [f"alpha {'beta ' * (n % 3)}gamma {n}" for n in range(20)]
    rows = [{"_id": f"d{n}", "text": text} for n, text in enumerate(texts)]
    queries = [{"_id": f"q{n}", "text": f"beta gamma {n}"} for n in range(3)]
    for name, found in (("corpus", rows), ("queries", queries)):
        lines = "".join(json.dumps(row) + "\n" for row in found)
        (tmp_path / f"{name}.jsonl").write_text(lines)
    (tmp_path / "qrels.tsv").write_text("".join(f"q{n}\td{n}\t1\n" for n in range(3)))
    (tmp_path / "mine.toml").write_text(
        """
work = "work"
output = "train.parquet"
[index]
corpus = "corpus.jsonl"
[retrieve]
queries = "queries.jsonl"
qrels = "qrels.tsv"
source = ["bm25"]
k = 10
[filter]
num-negatives = 2
[export]
format = "triplet"
"""
    )
    missing = ("ray", "httpx2", "fsspec", "s3fs", "gcsfs")
    program = f"""
import sys
sys.modules.update(dict.fromkeys({missing!r}))
from negmine.cli import main
main()
"""
    words = ("run", "mine.toml", "--engine", "local", "--workers", "1")
    for more in ((), words[2:]):
        ran = subprocess.run(
            [sys.executable, "-c", program, *words[:2], *more, "--force"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr
        assert "train.parquet" in ran.stdout + ran.stderr
    refused = subprocess.run(
        [sys.executable, "-c", program, *words[:2], "--engine", "ray"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert refused.returncode not in (0, 1), refused.stderr
    assert "negmine[ray]" in refused.stderr
