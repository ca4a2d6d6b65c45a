"""``negmine audit``: the error rate of a filter, measured with positives that it may not see.

Of queries with several known positives all but ``keep`` are hidden: their labels are turned to 0
and the very same filter is run. A hidden positive stands for a positive that nobody labelled, so
one that is chosen as a negative is a false negative that we can count. Which labels are missing
matters (D-MERIT, arXiv 2406.16048), and in real data it is not chance, so they are hidden once at
random and once per source the worst-ranked ones.

A hidden positive that no source retrieved is taken out of the table: it stood there only because
it was labelled.
"""

from __future__ import annotations

import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import estimates, log, plot, recipe, rules, samplers
from negmine.errors import InvalidDataError, InvariantError, NegmineError, UsageError, did_you_mean
from negmine.params import AuditParams, FilterParams, output_affecting
from negmine.relevance import NAME as P_RELEVANT
from negmine.rules.base import UNRANKED, positive_scores, read_rank, read_score
from negmine.stages import filter as filtering
from negmine.stages.outcome import Outcome
from negmine.table import artifact as artifacts
from negmine.table import schema as schemas
from negmine.table.artifact import Artifact, Plan
from negmine.table.names import rank_column, score_column

VERSION = 1
REPORT = "audit.json"
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_RANDOM, _HELD_OUT = "random", "held-out"
_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class Scheme:
    """A way to hide positives.

    Attributes:
        name: ``random``, ``biased:SOURCE`` or ``held-out``.
        source: whose worst-ranked positives are hidden; None = at random.
        runs: how many times, each with another seed.
    """

    name: str
    source: str | None = None
    runs: int = 1


@dataclass(frozen=True)
class Setting:
    """A filter to try.

    Attributes:
        params: all of its options.
        sweep: the option that is varied, or None for the settings as given.
        value: its value here.
    """

    params: FilterParams
    sweep: str | None = None
    value: Any = None

    @property
    def label(self) -> str:
        """``relative-margin=0.05``, or ``as given``."""
        if self.sweep is None:
            return "as given"
        value = f"{self.value:.4g}" if isinstance(self.value, float) else str(self.value)
        return f"{self.sweep.replace('_', '-')}={value}"


def run(
    params: FilterParams, audit: AuditParams, scored: Path, out: Path, *, force: bool = False
) -> Outcome:
    """Audit the filter ``params`` on the table at ``scored``; the report goes to ``out``.

    Args:
        params: the filter under audit.
        audit: what is hidden and which settings are tried.
        scored: a scored (or just retrieved) artifact.
        out: a folder (report as JSON, table and pictures), or a file ``*.json``.
        force: replace a report of other settings.

    Raises:
        UsageError: an unknown source, score or rule, or nothing that can be measured.
        NegmineError: see the exit codes in :mod:`negmine.errors`.
    """
    source = artifacts.open_artifact(
        scored, ["retrieve", "rerank"], purpose="the scored candidates"
    )
    schema = source.schema()
    teacher = schemas.pick_score(schema, audit.teacher, "--teacher")
    known = schemas.source_names(schema)
    for name in audit.bias:
        if name not in known:
            raise UsageError(f"--bias: no source '{name}'", hint=did_you_mean(name, known))
    settings = _settings(params, audit.sweep, source)
    plan = Plan(
        "audit",
        VERSION,
        {
            "filter": output_affecting(params),
            "audit": output_affecting(audit),
            "code": [rules.VERSION, filtering.VERSION, *rules.identities(params)],
        },
        artifacts={"scored": source},
        files=_files(params),
    )
    as_file = out.suffix == ".json"
    writer = (
        artifacts.begin_file(out, plan, force=force)
        if as_file
        else artifacts.begin(out, plan, force=force)
    )
    if writer is None:
        return Outcome(out, {}, up_to_date=True)
    with writer:
        report, warnings = measure(source, settings, audit, teacher)
        counts = {"settings": len(settings), **report["queries"]}
        if isinstance(writer, artifacts.FileWriter):
            writer.add_text(_json(report))
        else:
            for name, text in _files_of(report).items():
                if not writer.has(name):
                    writer.add_text(name, text)
        writer.commit(counts, warnings=warnings)
    log.event(table(report), report=report["rows"])
    for warning in warnings:
        log.event(warning, level=30)
    return Outcome(out, counts, warnings=warnings)


def measure(
    source: Artifact, settings: Sequence[Setting], audit: AuditParams, teacher: str
) -> tuple[dict[str, Any], list[str]]:
    """Hide, filter and count, for every scheme and setting; returns (report, warnings)."""
    sources = schemas.searched_names(source.schema())
    qids, positives = _queries(source)
    several = int((positives > audit.keep).sum())
    warnings: list[str] = []
    if several:
        schemes = [Scheme(_RANDOM, runs=audit.seeds)]
        schemes += [Scheme(f"biased:{name}", name) for name in audit.bias or sources]
    else:
        if audit.bias:
            warnings.append(
                f"--bias has no effect: no query has more than --keep {audit.keep} known positives "
                "to hide some of"
            )
        if audit.keep > 1 or not (positives > 0).any():
            raise UsageError(
                f"no query has more than --keep {audit.keep} known positives: nothing to hide",
                where=str(source.path),
                hint="Lower --keep, or retrieve with judgements that name several positives.",
            )
        schemes = [Scheme(_HELD_OUT, runs=max(2, audit.seeds))]
        warnings.append(
            "no query has two known positives: half of the queries lose their only one and it is "
            "treated as a candidate. Survival is measured so, for rules that ask nothing of the "
            "query's own positive; contamination, yield and hardness are those of a query without "
            "any label"
        )
    tallies: dict[tuple[int, str], Tally | NegmineError] = {}
    work = sum(scheme.runs for scheme in schemes) * len(settings)
    with (
        log.progress("auditing", work, " runs") as bar,
        _quiet(),
        tempfile.TemporaryDirectory(prefix="negmine-audit-") as folder,
    ):
        for scheme in schemes:
            for seed in range(scheme.runs):
                path = Path(folder) / "scored"
                hidden = mask(source, path, scheme, audit.keep, seed)
                for number, setting in enumerate(settings):
                    key = (number, scheme.name)
                    tally = tallies.setdefault(key, Tally(len(positives), sources))
                    try:
                        if not isinstance(tally, NegmineError):
                            _try(setting.params, path, hidden, qids, tally, teacher, seed)
                    except NegmineError as error:
                        # One value of a sweep may be impossible; the others are still wanted.
                        if setting.sweep is None:
                            raise
                        tallies[key] = error
                    bar.update(1)
    rows = []
    for number, setting in enumerate(settings):
        for scheme in schemes:
            tally = tallies[number, scheme.name]
            row = _row(setting, scheme)
            if isinstance(tally, NegmineError):
                warnings.append(f"{setting.label} ({scheme.name}) cannot be measured: {tally.what}")
                rows.append({**row, "error": str(tally)})
            else:
                rows.append({**row, **tally.result()})
    report = {
        "scored": str(source.path),
        "fingerprint": source.fingerprint,
        "teacher": teacher,
        "sources": sources,
        "confidence": estimates.CONFIDENCE,
        "keep": audit.keep,
        "held_out": not several,
        "queries": {
            "queries": len(positives),
            "queries_audited": several or int((positives > 0).sum()),
            "positives": int(positives.sum()),
        },
        "warnings": warnings,
        "rows": rows,
    }
    return report, warnings


# --- what is tried ----------------------------------------------------------------------------


def _settings(params: FilterParams, sweeps: Sequence[str], source: Artifact) -> list[Setting]:
    """The settings as given, then every value of every sweep."""
    settings = [Setting(params)]
    for sweep in sweeps:
        if sweep == "auto":
            values = _auto_values(params, source)
            alone = replace(params, **{name: _default(name) for name in values})
            settings += [
                Setting(replace(alone, **{name: value}), name, value)
                for name, tried in values.items()
                for value in tried
            ]
        else:
            name, tried = parse_sweep(sweep)
            settings += [Setting(replace(params, **{name: value}), name, value) for value in tried]
    return settings


def parse_sweep(text: str) -> tuple[str, list[Any]]:
    """``relative-margin=0:0.2:0.05`` or ``against=min,max`` as (option, values).

    Raises:
        UsageError: no such option, or values that it does not take.
    """
    option, separator, given = text.partition("=")
    name = option.strip().replace("-", "_")
    known = {field.name for field in fields(FilterParams)}
    if name not in known or not separator:
        shown = sorted(field.replace("_", "-") for field in known)
        what = f"--sweep: filter has no option '{option}'" if separator else f"--sweep {text!r}"
        raise UsageError(
            what,
            hint="Write RULE=FROM:TO:STEP, RULE=V1,V2,... or auto. "
            + did_you_mean(option.replace("_", "-"), shown),
        )
    hint = get_type_hints(FilterParams)[name]
    whole = int in (get_args(hint) or (hint,)) and float not in get_args(hint)
    values: list[Any]
    if given.count(":") == 2:
        try:
            first, last, step = (float(part) for part in given.split(":"))
        except ValueError:
            raise UsageError(f"--sweep: '{given}' is not FROM:TO:STEP in numbers") from None
        if not step > 0 or not last >= first or (last - first) / step > 1000:
            raise UsageError(
                f"--sweep: '{given}' has no values", hint="FROM <= TO, STEP > 0, at most 1000."
            )
        count = int((last - first) / step + 1e-9) + 1
        values = [round(first + number * step, 10) for number in range(count)]
        values = [int(value) if whole and value == int(value) else value for value in values]
    else:
        values = [_value(part.strip()) for part in given.split(",")]
    checked = [getattr(recipe.build(FilterParams, {}, {name: value}), name) for value in values]
    return name, list(dict.fromkeys(checked))


def _value(text: str) -> Any:
    """A TOML value, or a bare string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _auto_values(params: FilterParams, source: Artifact) -> dict[str, list[Any]]:
    """Values per rule for ``--sweep auto``; score units come from the known positives' scores."""
    scores = _positive_scores(params, source)
    spread = float(np.subtract(*np.quantile(scores, (0.75, 0.25))))
    values: dict[str, list[Any]] = {
        "relative_margin": [0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7],
        "absolute_margin": [_short(spread * k) for k in (0, 0.125, 0.25, 0.5, 0.75, 1, 1.5)],
        "max_score": [_short(np.quantile(scores, q)) for q in (0.5, 0.3, 0.2, 0.1, 0.05, 0.02)],
        "percentile": [1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05],
        "max_fn_rate": [0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01],
        "range_min": [1, 5, 10, 20, 30, 40],
        "skip_survivors": [1, 2, 4, 8, 16],
    }
    known = {field.name for field in fields(FilterParams)}
    return {name: list(dict.fromkeys(tried)) for name, tried in values.items() if name in known}


def _positive_scores(params: FilterParams, source: Artifact) -> np.ndarray:
    """Scores of the known positives as the rules read them."""
    schema = source.schema()
    if params.by is not None and params.by.removeprefix(score_column("")) == P_RELEVANT:
        # Made by the filter, so not in the table yet: a probability.
        return np.linspace(0, 1, 101)
    name = schemas.pick_score(schema, params.by, "--by")
    found = []
    for part in source.parts:
        table = source.read(part, ["label", score_column(name)])
        known = table.filter(pc.equal(table.column("label"), 1))
        found.append(read_score(known, name, params.transform))
    scores = np.concatenate(found)
    scores = scores[~np.isnan(scores)]
    if len(scores) == 0:
        raise InvalidDataError(
            f"--sweep auto: no positive has a score '{name}'",
            where=str(source.path),
            hint="Sweep what reads ranks (--sweep range-min=1:20:5), name another score (--by), or "
            "score the candidates first (negmine rerank --scorer NAME=MODEL).",
        )
    return scores


def _short(number: float) -> float:
    return float(f"{number:.3g}")


def _default(name: str) -> Any:
    return next(field.default for field in fields(FilterParams) if field.name == name)


def _files(params: FilterParams) -> dict[str, dict[str, Any]]:
    """Records of the files that the filter's options name."""
    paths = {
        field.name: getattr(params, field.name)
        for field in fields(params)
        if field.metadata["path"]
    }
    return {
        name: artifacts.external_input(Path(path), None)
        for name, path in paths.items()
        if isinstance(path, str) and Path(path).is_file()
    }


# --- hiding -----------------------------------------------------------------------------------


def _queries(source: Artifact) -> tuple[pa.Array, np.ndarray]:
    """All qids and how many positives each has."""
    qids, positives = [], []
    for name in source.parts:
        part = source.read(name, ["qid", "label"])
        grouped = part.group_by("qid", use_threads=False).aggregate([("label", "sum")])
        qids.append(grouped.column("qid").combine_chunks())
        positives.append(grouped.column("label_sum").to_numpy())
    return pa.concat_arrays(qids), np.concatenate(positives)


def hide(table: pa.Table, scheme: Scheme, keep: int, seed: int) -> tuple[pa.Table, np.ndarray]:
    """A part with some positives' labels turned to 0; a pure function of its arguments.

    Returns:
        (the table, grades of the hidden ones removed too; True for the rows it hid).
    """
    query, _ = schemas.string_codes(table.column("qid"))
    positive = table.column("label").to_numpy() == 1
    hidden = np.zeros(len(query), dtype=bool)
    if scheme.name == _HELD_OUT:
        # Seeds come in pairs, each query losing its positive in one of the two.
        draw = samplers.draws(table.column("qid"), table.column("qid"), seed // 2)
        hidden = positive & ((draw < 0.5) == (seed % 2 == 0))
    else:
        rows = np.flatnonzero(positive)
        if scheme.source is None:
            key = samplers.draws(table.column("qid"), table.column("docid"), seed)
        else:
            key = -read_rank(table, scheme.source).astype(np.float64)
        docid, _ = schemas.string_codes(table.column("docid"))
        order = rows[schemas.rank_order(query[rows], key[rows], docid[rows])]
        hidden[order[schemas.positions_in_group(query[order]) > keep]] = True
    label = np.where(hidden, 0, table.column("label").to_numpy()).astype(np.int8)
    index = table.schema.get_field_index("label")
    table = table.set_column(index, table.schema.field(index), pa.array(label))
    index = table.schema.get_field_index("grade")
    grade = pc.if_else(pa.array(hidden), pa.scalar(None, pa.float64()), table.column("grade"))
    return table.set_column(index, table.schema.field(index), grade), hidden


@dataclass(frozen=True)
class Hidden:
    """What was hidden in one part: keys of all hidden pairs, and the queries they belong to."""

    pairs: pa.Array
    qids: pa.Array


def mask(source: Artifact, folder: Path, scheme: Scheme, keep: int, seed: int) -> dict[str, Hidden]:
    """Write the whole table with labels hidden into ``folder``, as ``filter`` takes it.

    Returns:
        What was hidden, per part.
    """
    plan = Plan(
        "rerank",
        VERSION,
        {"scheme": scheme.name, "keep": keep, "seed": seed},
        artifacts={"candidates": source},
    )
    found: dict[str, Hidden] = {}
    writer = artifacts.begin(folder, plan, force=True)
    if writer is None:
        raise InvariantError("the temporary table was there already")
    with writer:
        for name in source.parts:
            table, hidden = hide(source.read(name), scheme, keep, seed)
            mask = pa.array(hidden)
            found[name] = Hidden(
                pairs=_keys(table.filter(mask)),
                qids=table.column("qid").filter(mask).combine_chunks().unique(),
            )
            table = table.filter(pa.array(~hidden | (schemas.best_rank(table) < UNRANKED)))
            writer.add_table(name, table, source.schema())
        writer.commit({})
    return found


def _keys(pairs: pa.Table) -> pa.Array:
    keys = pc.binary_join_element_wise(pairs.column("qid"), pairs.column("docid"), _SEPARATOR)
    return keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the filter's own messages of its many runs to itself."""
    level = log.logger.level
    log.logger.setLevel(40)
    try:
        yield
    finally:
        log.logger.setLevel(level)


# --- counting ---------------------------------------------------------------------------------


class Tally:
    """Counts of one setting under one scheme, per query, added up over runs."""

    def __init__(self, queries: int, sources: Sequence[str]) -> None:
        names = ("runs", "pool", "survived", "chosen", "false", "short", "none", "free")
        self.count = {name: np.zeros(queries, dtype=np.int64) for name in names}
        self.repeats = 0
        self.dropped: Counter[tuple[str, bool]] = Counter()
        self.query: list[np.ndarray] = []
        self.rank: dict[str, list[np.ndarray]] = {name: [] for name in sources}
        self.margin: list[np.ndarray] = []

    def add(
        self,
        ledger: pa.Table,
        hidden: Hidden,
        number: np.ndarray,
        audited: np.ndarray,
        params: FilterParams,
        teacher: str,
    ) -> None:
        """Count one part.

        Args:
            ledger: what the filter wrote.
            hidden: what was hidden in it.
            number: number of each row's query.
            audited: numbers of the queries that had a positive hidden.
            params: the filter's settings.
            teacher: the score in which hardness is told.
        """
        size = len(self.count["runs"])
        wanted = np.zeros(size, dtype=bool)
        wanted[audited] = True
        mine = wanted[number]
        false = pc.is_in(_keys(ledger), value_set=hidden.pairs).to_numpy(zero_copy_only=False)
        survived = ledger.column("dropped_by").is_null().to_numpy()
        chosen = ledger.column("selected").is_valid().to_numpy()

        def per_query(mask: np.ndarray) -> np.ndarray:
            return np.bincount(number[mask & mine], minlength=size)

        chosen_here = per_query(chosen)
        self.count["runs"][audited] += 1
        self.count["pool"] += per_query(false)
        self.count["survived"] += per_query(false & survived)
        self.count["free"] += per_query(survived)
        self.count["chosen"] += chosen_here
        self.count["false"] += per_query(chosen & false)
        self.count["short"] += wanted & (chosen_here < params.num_negatives)
        self.count["none"] += wanted & (chosen_here == 0)
        reasons = ledger.column("dropped_by").filter(pa.array(mine))
        for reason, is_false in zip(reasons.to_pylist(), false[mine].tolist(), strict=True):
            if reason is not None:
                self.dropped[reason, is_false] += 1

        taken = chosen & mine
        self.query.append(number[taken])
        for name, found in self.rank.items():
            rank = ledger.column(rank_column(name)).to_numpy().astype(np.float64)
            found.append(np.where(np.isnan(rank), np.inf, rank)[taken])
        codes, _ = schemas.string_codes(ledger.column("qid"))
        starts = schemas.group_starts(codes)
        score = read_score(ledger, teacher)
        label = ledger.column("label").to_numpy() == 1
        anchor = positive_scores(score, label, starts, params.against)
        lengths = np.diff(np.append(starts, len(codes)))
        self.margin.append((score - np.repeat(anchor, lengths))[taken])

    def result(self) -> dict[str, Any]:
        """Rates with intervals."""
        count = self.count
        query = np.concatenate(self.query)
        margin = np.concatenate(self.margin)
        told = ~np.isnan(margin)
        ranks = {}
        for name, found in self.rank.items():
            rank = np.concatenate(found)
            ranks[name] = {
                **_spread(rank, query),
                "unranked": _number(float(np.isinf(rank).mean())) if len(rank) else None,
            }
        reasons = sorted({reason for reason, _ in self.dropped})
        return {
            "pool": int(count["pool"].sum()),
            "chosen": int(count["chosen"].sum()),
            "false": int(count["false"].sum()),
            "survival": estimates.share(count["survived"], count["pool"], self.repeats).as_json(),
            "contamination": estimates.share(
                count["false"], count["chosen"], self.repeats
            ).as_json(),
            "negatives_per_query": estimates.mean(count["chosen"], count["runs"]).as_json(),
            "survivors_per_query": estimates.mean(count["free"], count["runs"]).as_json(),
            "short_queries": estimates.share(count["short"], count["runs"], self.repeats).as_json(),
            "queries_with_none": estimates.share(
                count["none"], count["runs"], self.repeats
            ).as_json(),
            "rank": ranks,
            "margin": _spread(margin[told], query[told]),
            "dropped": {
                reason: {
                    "hidden_positives": self.dropped[reason, True],
                    "others": self.dropped[reason, False],
                }
                for reason in reasons
            },
        }


def _spread(values: np.ndarray, query: np.ndarray) -> dict[str, Any]:
    """Quantiles and the median's interval; null where they are beyond what is known."""
    middle = estimates.median(values, query)
    found = estimates.quantiles(values, _QUANTILES)
    return {
        **{f"p{round(100 * q)}": _number(v) for q, v in zip(_QUANTILES, found, strict=True)},
        "p50_low": _number(middle.low),
        "p50_high": _number(middle.high),
    }


def _number(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None


def _try(
    params: FilterParams,
    scored: Path,
    hidden: dict[str, Hidden],
    qids: pa.Array,
    tally: Tally,
    teacher: str,
    seed: int,
) -> None:
    """Filter the table with hidden labels and count what became of them."""
    with tempfile.TemporaryDirectory(prefix="negmine-audit-") as folder:
        out = Path(folder) / "ledger"
        # Each run samples anew, so that the interval covers the sampler's luck too.
        filtering.run(replace(params, seed=params.seed + seed), scored, out, advise=False)
        ledger = artifacts.open_artifact(out)
        columns = ["qid", "docid", "label", "dropped_by", "selected", score_column(teacher)]
        columns += [c for c in map(rank_column, tally.rank) if c not in columns]
        tally.repeats += 1
        for name, part_hidden in hidden.items():
            part = ledger.read(name, columns)
            audited = pc.index_in(part_hidden.qids, value_set=qids).to_numpy()
            number = pc.index_in(part.column("qid"), value_set=qids).to_numpy()
            _refuse_unmeasurable(part, part_hidden)
            tally.add(part, part_hidden, number, audited, params, teacher)


def _refuse_unmeasurable(part: pa.Table, hidden: Hidden) -> None:
    """A rule that compares with the query's positive says nothing about a query without one."""
    pairs = pc.is_in(_keys(part), value_set=hidden.pairs)
    reasons = part.column("dropped_by").filter(pairs)
    if pc.any(pc.equal(reasons, "no_positive_score")).as_py():
        raise UsageError(
            "the rules compare with the query's own positive, and its only one is hidden",
            hint="Such rules need queries with two or more known positives to be measured. With "
            "single positives audit rules on the score itself (--max-score, --max-fn-rate).",
        )


# --- telling ----------------------------------------------------------------------------------


def _row(setting: Setting, scheme: Scheme) -> dict[str, Any]:
    changed = {
        field.name.replace("_", "-"): getattr(setting.params, field.name)
        for field in fields(FilterParams)
        if getattr(setting.params, field.name) != field.default
    }
    return {
        "setting": setting.label,
        "options": changed,
        "sweep": setting.sweep.replace("_", "-") if setting.sweep else None,
        "value": setting.value,
        "hidden": scheme.name,
        "runs": scheme.runs,
    }


def _json(report: dict[str, Any]) -> str:
    return log.printable_json(report, indent=1) + "\n"


def _files_of(report: dict[str, Any]) -> dict[str, str]:
    """The report's files: JSON, table, and a picture per scheme where something was swept."""
    texts = {REPORT: _json(report), "audit.txt": log.printable(table(report))}
    for scheme in dict.fromkeys(row["hidden"] for row in report["rows"]):
        picture = curves(report, scheme)
        if picture is not None:
            texts[f"{scheme.replace(':', '-')}.svg"] = picture
    return texts


def table(report: dict[str, Any]) -> str:
    """The report as a table in plain text."""
    queries = report["queries"]
    how = "the only positive hidden of half of them at a time"
    if not report["held_out"]:
        how = f"{report['keep']} positive{'s' * (report['keep'] > 1)} of each revealed"
    lines = [
        f"{queries['queries_audited']} of {queries['queries']} queries audited, {how}; "
        f"hardness in score '{report['teacher']}'; "
        f"[..] are {round(100 * report['confidence'])}% intervals over queries",
        "",
    ]
    heads = ["setting", "hidden", "survival", "contamination", "per query", "short"]
    heads += [f"rank {name}" for name in report["sources"]]
    heads += ["margin"]
    rows = [heads]
    for row in report["rows"]:
        if "error" in row:
            rows.append([row["setting"], row["hidden"], "cannot be measured"])
            continue
        per_query, margin = row["negatives_per_query"]["value"], row["margin"]["p50"]
        cells = [
            row["setting"],
            row["hidden"],
            _share(row["survival"]),
            _share(row["contamination"]),
            "-" if per_query is None else f"{per_query:.2f}",
            _share(row["short_queries"], interval=False),
        ]
        for name in report["sources"]:
            rank = row["rank"][name]["p50"]
            cells.append("-" if rank is None else f"{rank:.0f}")
        rows.append([*cells, "-" if margin is None else f"{margin:.3g}"])
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(heads))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join(cells).rstrip())
    lines += [
        "",
        "survival: hidden positives in the pool that the rules let through. contamination: chosen",
        "negatives that are hidden positives (positives that nobody ever labelled come on top).",
        "rank, margin: medians over the chosen; margin = negative's minus positive's score.",
    ]
    return "\n".join(lines) + "\n"


def _share(estimate: dict[str, float | None], *, interval: bool = True) -> str:
    value, low, high = (estimate[name] for name in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "-"
    told = f"{100 * value:.1f}%"
    return f"{told} [{100 * low:.1f}-{100 * high:.1f}]" if interval else told


def curves(report: dict[str, Any], scheme: str) -> str | None:
    """The panels of one scheme as a picture; None without a sweep."""
    found = panels(report, scheme)
    return plot.svg(found) if found else None


def panels(report: dict[str, Any], scheme: str) -> list[plot.Panel]:
    """Contamination against yield and against hardness, a line per rule; none without a sweep."""
    # Dense ranks tell most: they are what the trained model will rank by.
    source = next((n for n in report["sources"] if n != "bm25"), report["sources"][0])
    rows = [row for row in report["rows"] if row["hidden"] == scheme and "error" not in row]
    if not any(row["sweep"] for row in rows):
        return []

    def series(x: Any) -> list[plot.Series]:
        found: dict[str, list[plot.Point]] = {}
        for row in rows:
            at, share = x(row), row["contamination"]
            if at is None or share["value"] is None:
                continue
            label = "" if row["sweep"] is None else row["setting"].partition("=")[2]
            point = plot.Point(at, share["value"], label, share["low"], share["high"])
            found.setdefault(row["sweep"] or row["setting"], []).append(point)
        return [plot.Series(name, points) for name, points in found.items()]

    how = "at random" if scheme == _RANDOM else scheme
    return [
        plot.Panel(
            f"Yield (positives hidden: {how})",
            "negatives per query",
            "contamination",
            series(lambda row: row["negatives_per_query"]["value"]),
            y_percent=True,
        ),
        plot.Panel(
            f"Hardness (positives hidden: {how})",
            f"median rank in {source} (left is harder)",
            "contamination",
            series(lambda row: row["rank"][source]["p50"]),
            y_percent=True,
        ),
    ]
