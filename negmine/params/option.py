"""How an option is declared: a field with its help, letters and limits."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

Device = str
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
#: Of models that read what can be compared with float32 first.
DtypeOrInt8 = Literal["auto", "float32", "bfloat16", "float16", "int8"]
Runtime = Literal["auto", "torch", "openvino"]
Pooling = Literal["auto", "cls", "mean", "last"]
OnError = Literal["fail", "skip"]


def opt(
    default: Any,
    help: str,
    *,
    flags: tuple[str, ...] = (),
    metavar: str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    instead: str = "",
    affects_output: bool = True,
    path: bool = False,
    later: bool = False,
    written: bool = False,
    per_model: bool = False,
) -> Any:
    """A stage parameter.

    Args:
        default: the value when neither flag nor recipe gives one.
        help: one sentence for ``--help`` and the reference.
        flags: command-line names; ``--field-name`` when empty.
        metavar: what the value is called in the help.
        minimum: smallest value allowed.
        maximum: largest value allowed.
        above: every value allowed is greater than this.
        below: every value allowed is less than this.
        instead: what to use where a value outside of the range is wanted, as a sentence.
        affects_output: False keeps the field out of the fingerprint (where the work runs, not
            what comes out).
        path: an input file or folder: fingerprinted by its content, not by its name.
        later: came when there were artifacts already: at its default it is not in the fingerprint,
            so that those stay up to date.
        written: a folder that the stage writes beside its result.
        per_model: an option of models, which may be given for one of them (``NAME=VALUE``); its
            type is :data:`negmine.params.per_model.Each`.
    """
    metadata = {
        "help": help,
        "flags": flags,
        "metavar": metavar,
        "minimum": minimum,
        "maximum": maximum,
        "above": above,
        "below": below,
        "instead": instead,
        "affects_output": affects_output and not path and not written,
        "path": path,
        "later": later,
        "written": written,
        "per_model": per_model,
    }
    return field(default=default, metadata=metadata)


def headings_of(params_class: type) -> dict[str, str]:
    """The heading under which ``--help`` tells each option of a parameter class.

    The class, or the one of its bases that declares an option, names the first option under each
    heading (``headings``); ``most_used`` ones stand before all others.
    """
    found: dict[str, str] = {}
    for declaring in params_class.__mro__:
        heading, named = "Options", vars(declaring).get("headings", {})
        for option in vars(declaring).get("__annotations__", ()):
            heading = named.get(option, heading)
            found.setdefault(option, heading)
    return found | dict.fromkeys(getattr(params_class, "most_used", ()), MOST_USED)


#: The heading of the options that matter most.
MOST_USED = "Most used"

COLUMN_HELP = (
    "Read field TARGET from column SOURCE of the input, or from #N, the N-th field of a file "
    "without a header line (repeatable)."
)
IGNORE_HELP = (
    "A column of the input that does not matter, though it looks like labels, negatives, scores, "
    "... (repeatable; docs/inputs.md)."
)
ON_ERROR_HELP = "A bad record stops the run (fail) or is skipped, counted and listed (skip)."
ELSEWHERE_HELP = (
    "Where the server of an encoder is now: openai:MODEL@URL or tei:MODEL@URL; default: where "
    "index asked it (repeatable)."
)
DEVICE_HELP = "Where models run: auto, cpu, cuda (every GPU), cuda:1, ..."
MEMORY_HELP = (
    "Most memory of the process, such as 2GB: decides how much is held at a time, not what comes "
    "out; default: half of what is free."
)
THREADS_HELP = (
    "Threads of models and searches on CPUs; default: the cores that the process may use "
    "(affinity, the control group's quota), or OMP_NUM_THREADS."
)
DTYPE_HELP = (
    "Arithmetic of the models; auto takes bfloat16 where the hardware has it, else float32."
)
INT8_HELP = (
    f"{DTYPE_HELP[:-1]}; int8 (encoders of vectors and cross-encoders, on CPUs) rounds weights and "
    "every token's vector to 8 bits, unless too little agrees with float32 on a sample of the "
    "texts."
)
RUNTIME_HELP = (
    "What runs PyTorch models; on a CPU auto takes OpenVINO where it is installed "
    "(pip install 'negmine[openvino]') and can run the model: in bfloat16 always, in float32 where "
    "a trial on a sample of the texts finds it faster and equal to five digits."
)


TRUNCATE_HELP = (
    "Keep the first N numbers of every vector of {what}, for models trained for it (Matryoshka); "
    "default: all."
)
TRUST_HELP = (
    "Run the Python code that models bring (nomic, gte, jina and others need it): read it first, "
    "for it may do whatever you may."
)
