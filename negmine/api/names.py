"""The argument names of ``mine_hard_negatives`` that mean something else, or nothing, here.

Every name of sentence-transformers' function is taken by :func:`negmine.mine`. Those that are
called otherwise here are told apart in this module, and what has no counterpart is refused with
what to use in its place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from negmine import log
from negmine.errors import UsageError, did_you_mean
from negmine.models.resolve import local_folder, read_json, resolve
from negmine.params.filter import FilterParams
from negmine.table.names import is_name

#: Names that some version or neighbour of ``mine_hard_negatives`` has, and what to use here.
_INSTEAD = {
    "as_tuples": 'Use output_format="n-tuple".',
    "prompt": "Use query_prompt and corpus_prompt.",
    "prompt_name": "Use query_prompt_name and corpus_prompt_name.",
    "show_progress_bar": "Use verbose.",
    "use_triplets": 'Use output_format="triplet" or "n-tuple".',
    "work_folder": "Use work_dir.",
}
#: Candidates per query and source that are kept where another call may want more of them.
_DEPTH = 100


@dataclass(frozen=True)
class Depth:
    """How far down the rankings candidates are taken from.

    Attributes:
        k: candidates per query and source, beside its positives.
        ranks: retrieval ranks that are considered; None = all.
        derived: nobody asked for a number of ranks, so that they follow from the other arguments.
    """

    k: int
    ranks: int | None
    derived: bool = False

    def considered(self, most_positives: int) -> int | None:
        """The last rank that is considered.

        Args:
            most_positives: positives of the query that has the most.
        """
        # Positives have places too, and a number that is derived counts them once more.
        each = 2 if self.derived else 1
        return None if self.ranks is None else self.ranks + each * most_positives


def refuse_unknown(unknown: Mapping[str, Any], function: Callable[..., Any]) -> None:
    """Refuse arguments that the function does not have.

    Raises:
        UsageError: there is one; with what to use in its place.
    """
    if not unknown:
        return
    name = next(iter(unknown))
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    known = [
        key for key, one in inspect.signature(function).parameters.items() if one.kind not in kinds
    ]
    raise UsageError(
        f"negmine.mine has no argument '{name}'",
        hint=_INSTEAD.get(name) or _of_filter(name) or did_you_mean(name, known),
    )


def _of_filter(name: str) -> str | None:
    """How to give an option of the filter that is no argument; None where it is not one."""
    if name not in {field.name for field in fields(FilterParams)}:
        return None
    key = name.replace("_", "-")
    return f'It is an option of the filter: options={{"filter": {{"{key}": ...}}}}.'


def one_of(name: str, value: Any, other: str, given: Any) -> Any:
    """The value of an argument that has two names.

    Raises:
        UsageError: both are given.
    """
    if value is not None and given is not None:
        raise UsageError(
            f"{name} and {other} are two names of one argument", hint="Give one of them."
        )
    return given if value is None else value


def refuse_positives(include_positives: bool) -> None:
    """Refuse to take positives for negatives.

    Raises:
        UsageError: it is asked for.
    """
    if include_positives:
        raise UsageError(
            "include_positives: a known positive is never a negative here",
            hint='output_format="labeled-list" with output_scores=True holds the positives beside '
            'the negatives, and output_format="trec-run" ranks them together.',
        )


def layout(output_format: str, output_scores: bool, as_triplets: bool | None) -> tuple[str, bool]:
    """The format's name and whether it has scores, of old names too."""
    if as_triplets is not None:
        output_format = "triplet" if as_triplets else "n-tuple"
        log.warn([f'as_triplets is an old name: use output_format="{output_format}"'])
    if output_format == "n-tuple-scores":
        log.warn(['"n-tuple-scores" is an old name: use "n-tuple" with output_scores=True'])
        return "n-tuple", True
    return output_format, output_scores


def margin_of(margin: float | None, absolute_margin: float | None) -> float | None:
    """The absolute margin, of its old name too."""
    if margin is not None:
        log.warn(["margin is an old name: use absolute_margin or relative_margin"])
    found: float | None = one_of("absolute_margin", absolute_margin, "margin", margin)
    return found


def device_of(device: str, use_multi_process: bool | Sequence[str]) -> str:
    """Where models run, of a list of devices too.

    Raises:
        UsageError: a list that cannot be told by one name.
    """
    if isinstance(use_multi_process, bool):
        # "auto" takes every GPU, and every core where there is none.
        return device
    named = list(dict.fromkeys(str(one) for one in use_multi_process))
    if device != "auto":
        raise UsageError("use_multi_process and device both name devices", hint="Give one of them.")
    if len(named) > 1:
        raise UsageError(
            f"use_multi_process: {', '.join(named)} have no name together",
            hint='device="cuda" takes every GPU; the environment variable CUDA_VISIBLE_DEVICES '
            "says which there are.",
        )
    return named[0] if named else device


def unused(use_faiss: bool, faiss_batch_size: int | None) -> None:
    """Say that search needs no settings."""
    if use_faiss or faiss_batch_size is not None:
        log.event("use_faiss and faiss_batch_size change nothing: search is exact, and in blocks")


def depth_of(
    k: int | None,
    range_min: int,
    range_max: int | None,
    *,
    num_negatives: int,
    bounded: bool,
    sampled: bool,
    most_positives: int | None,
) -> Depth:
    """How many candidates are retrieved, and how many of them are considered.

    Without any of the two, as many are considered as ``mine_hard_negatives`` considers: ten for
    each negative where a threshold may drop some, else just enough. Where the best are taken, more
    of them changes nothing unless a rule drops some, so the smaller number is for random ones only.

    Args:
        k: candidates per query and source.
        range_min: the best that are skipped.
        range_max: how many are considered.
        num_negatives: asked for per query.
        bounded: a threshold is given.
        sampled: negatives are drawn at random.
        most_positives: positives of the query that has the most; None where it is not known yet,
            or where another call may want the same candidates.

    Raises:
        UsageError: a range without room for the negatives.
    """
    if num_negatives < 1:
        raise UsageError(f"num_negatives must be at least 1, not {num_negatives}")
    if range_min < 0:
        raise UsageError(f"range_min must be at least 0, not {range_min}")
    if range_max is None and k is not None:
        return Depth(k, None)
    if range_max is None:
        few = sampled and not bounded
        depth = Depth(0, range_min + num_negatives * (1 if few else 10), derived=True)
    else:
        depth = Depth(0, range_max)
    assert depth.ranks is not None
    if depth.ranks - range_min < num_negatives:
        raise UsageError(
            f"no room for {num_negatives} negatives between range_min={range_min} and "
            f"range_max={range_max}",
            hint="Raise range_max, or lower range_min or num_negatives.",
        )
    if k is not None and k < depth.ranks:
        raise UsageError(
            f"range_max={range_max} of only k={k} candidates", hint="Leave k out, or raise it."
        )
    if k is None:
        k = max(_DEPTH, depth.ranks) if most_positives is None else depth.considered(most_positives)
    assert k is not None
    return replace(depth, k=k)


def for_encoder(prompt: str | None) -> str | None:
    """A prompt as the option has it; one that looks as if it named a model is given by name."""
    named = prompt is not None and is_name(prompt.partition("=")[0]) and "=" in prompt
    return f"encoder={prompt}" if named else prompt


def prompt_of(
    argument: str, prompt: str | None, name: str | None, encoder: str | None
) -> str | None:
    """A prompt, told itself or by its name among the model's own.

    Args:
        argument: the argument that the name came in.
        prompt: the text, which comes first.
        name: its name.
        encoder: the model's name or folder.

    Raises:
        UsageError: the model has no prompt of that name.
        NegmineError: the model is not found.
    """
    if prompt is not None or name is None:
        return prompt
    if encoder is None:
        raise UsageError(f"{argument}: there is no encoder that would know '{name}'")
    saved = read_json(local_folder(resolve(encoder)) / "config_sentence_transformers.json")
    prompts: dict[str, str] = saved.get("prompts") or {}
    if name not in prompts:
        raise UsageError(
            f"{argument}: the encoder has no prompt '{name}'",
            where=encoder,
            hint=did_you_mean(name, prompts),
        )
    return prompts[name]
