"""The page: facts and pictures poured into HTML templates.

Templates escape everything by themselves; only the pictures are trusted, because
:mod:`negmine.commands.plot.figure` escapes what it writes, and the page's one script with its data,
which :mod:`negmine.commands.report.by_query` escapes. The page asks the network for nothing, and
tells the browser so: its Content-Security-Policy names that script by its hash and allows no
other."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from negmine import rules
from negmine.commands import audit as auditing
from negmine.commands.audit import sampled
from negmine.commands.report import (
    by_query,
    charts,
    drift,
    examples,
    judges,
    verdict,
    words,
    written,
)
from negmine.commands.report.by_query import Lookup
from negmine.commands.report.charts import Chart
from negmine.commands.report.collect import Combination, Facts
from negmine.commands.report.compare import Comparison
from negmine.commands.report.examples import Group
from negmine.commands.report.slices import DROPPED, FATES, POSITIVE, SELECTED, SURVIVED, UNJUDGED
from negmine.commands.shortened import counted, short_id
from negmine.learning import assumption
from negmine.stages.stage import STAGES
from negmine.table.artifacts.reading import Artifact
from negmine.table.candidates import Candidates
from negmine.table.names import P_PRIOR, QUERY, WRITTEN

#: Most letters of a text in an example, and in a list.
TEXT, SNIPPET = 900, 160
_COMBINATIONS = 12
#: Examples that belong to no rule: their heading, and how to read them.
_KINDS = {
    examples.HIGHEST: (
        "The highest-scoring negatives",
        "By the score that the rules read, whatever their positive scores: what was chosen and "
        "looks most like an answer.",
    ),
    "hardest": (
        "The hardest negatives",
        "Nearest to their own positive, or above it. A positive that scores low makes any "
        "negative hard: read both.",
    ),
    "median": ("The median negatives", "As hard as half of all that were chosen."),
    "easiest": ("The easiest negatives", "Farthest below their positive."),
    examples.SURVIVORS: (
        "Survivors that were not chosen",
        "No rule objects; the sampler took others. The best-scoring first.",
    ),
    examples.POSITIVES: (
        "The weakest known positives",
        "The lowest-scoring first: labels to doubt, or pairs that the score does not understand.",
    ),
    examples.PROMOTED: (
        "Candidates that were made positives",
        "The lowest-scoring first. They go out as positives, unless export says --promoted "
        "leave-out.",
    ),
    examples.TAKEN_AWAY: (
        "Known positives that were taken away",
        "The highest-scoring first: somebody once said that they answer.",
    ),
}
#: Parameters that are no settings, or are told as models.
_NO_SETTINGS = ("rules", "prior", "side", "column", "encoder", "scorer")


@dataclass(frozen=True)
class Step:
    """A row of the funnel.

    Attributes:
        name: what it is.
        told: what it means.
        rows: how many, or None for a heading.
        queries: how many queries it concerns.
        start: where its bar begins, as a share of the candidates.
        width: how long its bar is.
        role: ``total``, ``dropped`` or ``selected``.
    """

    name: str
    told: str
    rows: int
    queries: int | None = None
    start: float = 0.0
    width: float | None = None
    role: str = "total"


@dataclass(frozen=True)
class Warned:
    """A warning and the stage that gave it."""

    stage: str
    text: str


@dataclass(frozen=True)
class Made:
    """How one artifact of the lineage was made."""

    stage: str
    fingerprint: str
    settings: list[tuple[str, str]]
    models: list[tuple[str, str, str]]
    inputs: list[tuple[str, str, str]]
    seconds: float | None
    memory: int | None
    started: str
    negmine: str


def one(
    facts: Facts,
    groups: Sequence[Group],
    audits: Sequence[tuple[str, dict[str, Any], list[str]]],
    samples: Sequence[tuple[str, dict[str, Any]]],
    exports: Sequence[Artifact],
    lookup: Lookup,
    *,
    texts: bool,
) -> str:
    """The page of one ledger.

    Args:
        facts: what was collected of it.
        groups: examples, with their texts.
        audits: by hiding: (name, report, options that differ from the ledger's).
        samples: by a sample of its negatives: (name, report).
        exports: what was exported from it.
        lookup: queries to look up.
        texts: whether texts may be shown.
    """
    silent, funnel = _funnel(facts, exports)
    script = (files(__package__) / "templates" / "lookup.js").read_text("utf-8")
    return _render(
        "report.html",
        title=f"{_name(facts.ledger)} – negmine report",
        name=_name(facts.ledger),
        facts=facts,
        verdict=verdict.verdict(facts, _name(facts.ledger), audits, samples),
        anchors=_anchors(groups),
        dropping={group.kind for group in groups if group.side == "dropped"},
        kinds=_KINDS,
        lookup=lookup,
        numbers=lookup.numbers(),
        data=Markup(by_query.data(lookup, facts.reader, _name(facts.ledger))),
        script=Markup(script),
        script_hash=_hash(script) if lookup.queries else "",
        lineage=_lineage(facts.ledger.artifact),
        versions=facts.ledger.artifact.versions,
        warnings=_warnings(facts.ledger.artifact),
        # What speaks against it is among the warnings.
        bound=assumption.lines(facts.ledger.artifact.manifest)[:1],
        sources=_found_by(facts),
        retrieved=facts.ledger.retrieved.counts,
        funnel=funnel,
        unjudged=sum(facts.dropped[name].rows for name in UNJUDGED if name in facts.dropped),
        silent=silent,
        reasons={name: rules.words(name, facts.reader.params) for name in facts.dropped},
        distributions=_distributions(facts),
        by_rank=_by_rank(facts),
        rank_quantiles=charts.rank_quantiles(facts),
        judges=judges.examined(_ancestors(facts.ledger.artifact)),
        judge_heads=judges.HEADS,
        written_heads=written.HEADS,
        combinations=facts.combinations[:_COMBINATIONS],
        other_combinations=facts.combinations[_COMBINATIONS:],
        audits=[_audit(n, *given) for n, given in enumerate(audits)],
        samples=[_sample(name, report) for name, report in samples],
        hub_texts=_hub_texts(facts) if texts else {},
        short_texts=_short_texts(facts) if texts else {},
        examples=groups,
        ledger_settings=dict(_settings(facts.ledger.artifact)),
    )


def _distributions(facts: Facts) -> list[Chart]:
    """How the scores are spread, a chart for each that has one."""
    found = (charts.distribution(one, f"score{n}") for n, one in enumerate(facts.distributions))
    return [chart for chart in found if chart is not None]


def _by_rank(facts: Facts) -> list[Chart]:
    """What became of the rows by rank, and how hard they are, for each source."""
    margin = facts.distributions[1].measure.told
    found = []
    for n, ranks in enumerate(facts.ranks):
        found.append(charts.fates_by_rank(ranks, f"fate{n}"))
        found.append(charts.hardness(ranks, margin, f"hard{n}"))
    return [chart for chart in found if chart is not None]


def two(found: Comparison, *, texts: bool) -> str:
    """The page of two ledgers."""
    names = (_name(found.first.ledger), _name(found.second.ledger))
    if names[0] == names[1]:
        names = (f"{names[0]} (A)", f"{names[1]} (B)")
    overlaid = [
        chart
        for n, one in enumerate(found.overlaid)
        if (chart := charts.overlaid(one, names, f"over{n}")) is not None
    ]
    order = dict.fromkeys(
        ["selected", "survived", *found.first.dropped, *found.second.dropped, "not a candidate"]
    )
    moved = {pair for pair in found.fates if pair != ("positive", "positive")}
    sides = [fate for fate in order if any(a == fate for a, _ in moved)]
    heads = [fate for fate in order if any(b == fate for _, b in moved)]
    return _render(
        "compare.html",
        title=f"{names[0]} and {names[1]} – negmine report",
        names=names,
        found=found,
        facts=(found.first, found.second),
        lineages=(_lineage(found.first.ledger.artifact), _lineage(found.second.ledger.artifact)),
        versions=found.first.ledger.artifact.versions,
        warnings=(_warnings(found.first.ledger.artifact), _warnings(found.second.ledger.artifact)),
        reasons=list(dict.fromkeys([*found.first.dropped, *found.second.dropped])),
        gone=drift.gone(found.fates),
        overlaid=overlaid,
        agreement=charts.agreement(found, "agree"),
        rank_quantiles=[charts.rank_quantiles(facts) for facts in (found.first, found.second)],
        fate_heads=heads,
        fate_sides=sides,
        texts=texts,
    )


def _render(template: str, **values: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("negmine.commands.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        # All data loses what acts on a screen, not only what acts on HTML.
        finalize=_finalize,
    )
    environment.filters |= {
        "number": words.number,
        "percent": words.percent,
        "size": words.size,
        "plural": counted,
        "setting": words.setting,
        "safe_text": words.safe,
        "short_id": short_id,
        "picture": Markup,
    }
    environment.globals |= {
        "TEXT": TEXT,
        "SNIPPET": SNIPPET,
        "ROWS": by_query.ROWS,
        "POSITIVE": POSITIVE,
        "DROPPED": DROPPED,
        "SURVIVED": SURVIVED,
        "SELECTED": SELECTED,
        "FATES": FATES,
        "explain": verdict.command,
    }
    return environment.get_template(template).render(**values)


def _finalize(value: Any) -> Any:
    return words.safe(value) if type(value) is str else value


def _anchors(groups: Sequence[Group]) -> dict[str, str]:
    """Where the examples of a step of the funnel stand."""
    kinds = {group.kind for group in groups}
    found = {kind: f"read-{kind}" for kind in kinds}
    if examples.HIGHEST in kinds:
        found["selected"] = f"read-{examples.HIGHEST}"
        # Where the sampler took all survivors these are the chosen.
        found.setdefault(examples.SURVIVORS, found["selected"])
    return {**found, "documents": "lineage", "queries read": "lineage", "pairs": "sources"}


def _hash(script: str) -> str:
    """A script as a Content-Security-Policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _name(ledger: Candidates) -> str:
    """Work folder and folder: what a user calls it."""
    path = ledger.path.resolve()
    return f"{path.parent.name}/{path.name}"


# --- sections ---------------------------------------------------------------------------------


def _of_quotas(facts: Facts, whole: int) -> list[Step]:
    """A row for each quota: which of the selected filled it."""
    missing = facts.ledger.counts.get("quota_missing", {})
    return [
        Step(
            f"selected of {name}",
            f"fill its --quota; {words.number(missing.get(name, 0))} places stayed empty",
            rows,
            None,
            0.0,
            rows / whole,
            "selected",
        )
        for name, rows in facts.ledger.counts.get("quota", {}).items()
    ]


def _funnel(facts: Facts, exports: Sequence[Artifact]) -> tuple[list[str], list[Step]]:
    """(rules that dropped nothing, the rows of the funnel)."""
    whole = max(1, facts.candidates)
    retrieved = facts.ledger.retrieved.counts
    documents = facts.ledger.documents.artifact.counts.get("documents")
    steps = []
    if documents is not None:
        steps.append(Step("documents", "in the corpus", documents))
    if "queries_read" in retrieved:
        steps.append(Step("queries read", "", retrieved["queries_read"]))
    steps.append(
        Step("pairs", "retrieved, or known positives", facts.candidates, facts.queries, 0.0, 1.0)
    )
    left = facts.candidates
    silent = []
    for name, dropped in facts.dropped.items():
        if not dropped.rows:
            silent.append(name)
            continue
        left -= dropped.rows
        steps.append(
            Step(
                name,
                rules.words(name, facts.reader.params),
                -dropped.rows,
                dropped.queries,
                left / whole,
                dropped.rows / whole,
                "dropped",
            )
        )
    for option, count in facts.ledger.counts.get("relabelled", {}).items():
        counted_as = "queries" if option.startswith("--drop-query") else "rows"
        steps.append(Step(option, f"{counted_as} that fulfil it", count))
    queries = sum(n for chosen, n in facts.chosen_per_query.items() if chosen)
    steps.append(Step("survivors", "no rule objects", left, None, 0.0, left / whole))
    steps.append(
        Step(
            "selected",
            f"taken by the sampler, at most {facts.reader.params.num_negatives} per query",
            facts.selected,
            queries,
            0.0,
            facts.selected / whole,
            "selected",
        )
    )
    steps += _of_quotas(facts, whole)
    steps += [_exported(export) for export in exports if "examples" in export.counts]
    return silent, steps


def _exported(export: Artifact) -> Step:
    """A training set that was made of the ledger."""
    counts = export.counts
    if export.stage != WRITTEN:
        layout = f"examples, {export.params.get('format', '')}"
        queries = counts.get("queries", 0) - counts.get("queries_left_out", 0)
        return Step(f"exported: {export.path.name}", layout, counts["examples"], queries)
    kind = export.params["kind"]
    # A query goes out with its own pairs, but an instruction only where another one was written.
    left_out = 0 if kind == QUERY else counts["queries_without_text"]
    return Step(
        f"written: {export.path.name}",
        f"examples, {counts['written']:,} of them with a written {kind}",
        counts["examples"],
        counts["queries"] - left_out,
    )


def _found_by(facts: Facts) -> list[dict[str, Any]]:
    """What each source found: rows by fate, and those that it alone found."""
    rows = []
    for source in facts.reader.sources:
        mine = [c for c in facts.combinations if source in c.sources]
        alone = [c for c in mine if len(c.sources) == 1]
        rows.append(
            {
                "source": source,
                "fates": [sum(c.fates[f] for c in mine) for f in range(len(FATES))],
                "alone": [sum(c.fates[f] for c in alone) for f in range(len(FATES))],
                "shared": [_shared(mine, other) for other in facts.reader.sources],
            }
        )
    return rows


def _shared(found: Sequence[Combination], other: str) -> float | None:
    """The share of a source's finds that another found, too; None where it found nothing."""
    rows = sum(c.rows for c in found)
    return sum(c.rows for c in found if other in c.sources) / rows if rows else None


def _ancestors(ledger: Artifact) -> list[Artifact]:
    """Everything that the ledger descends from, each once and before what it went into, and it."""
    found: dict[str, Artifact] = {}

    def walk(artifact: Artifact) -> None:
        for role in artifact.roles():
            if artifact.inputs[role]["fingerprint"] not in found:
                walk(artifact.input(role))
        found[artifact.fingerprint] = artifact

    walk(ledger)
    return list(found.values())


def _warnings(ledger: Artifact) -> list[Warned]:
    return [
        Warned(artifact.stage, str(text))
        for artifact in _ancestors(ledger)
        for text in artifact.warnings
    ]


def _settings(artifact: Artifact) -> list[tuple[str, str]]:
    """Options that differ from their defaults."""
    stage = artifact.stage
    row = STAGES.get(stage.split(".")[0])
    defaults = {f.name: f.default for f in fields(row.params)} if row else {}
    found = []
    for name, value in artifact.params.items():
        default = defaults.get(name)
        same = list(default) if isinstance(default, tuple) else default
        if name in _NO_SETTINGS or value == same or value in (None, []):
            continue
        found.append((name.replace("_", "-"), words.setting(value)))
    return found


def _lineage(ledger: Artifact) -> list[Made]:
    """How everything was made, in the order in which it was."""
    made = []
    for artifact in _ancestors(ledger):
        manifest = artifact.manifest
        models = [
            (name, str(model.get("model", "")), str(model.get("revision", "")))
            for name, model in manifest.get("models", {}).items()
        ]
        if (prior := manifest.get(P_PRIOR)) is not None:
            models.append(
                (P_PRIOR, f"fitted to {', '.join(prior['fitted_to'])}", prior["identity"])
            )
        inputs = [
            (role, *_told(record))
            for role, record in manifest["inputs"].items()
            if "stage" not in record
        ]
        run = manifest.get("run", {})
        made.append(
            Made(
                artifact.stage,
                artifact.fingerprint[:12],
                _settings(artifact),
                models,
                inputs,
                run.get("seconds"),
                run.get("peak_rss_bytes"),
                run.get("started", ""),
                str(manifest["negmine"]),
            )
        )
    return made


def _told(record: Mapping[str, Any]) -> tuple[str, str]:
    """(name, size or version) of a user's input; of a local path only its last part."""
    path = str(record["path"])
    name = path.rstrip("/").rsplit("/", 1)[-1] if path.startswith("/") else path
    if "bytes" in record:
        return name, words.size(record["bytes"])
    files = record.get("files", {}).values()
    if files and all("bytes" in one for one in files):
        return name, words.size(sum(one["bytes"] for one in files))
    return name, str(record.get("version", ""))


def _audit(number: int, name: str, report: dict[str, Any], differs: list[str]) -> dict[str, Any]:
    schemes = list(dict.fromkeys(row["hidden"] for row in report["rows"]))
    drawn = [
        chart
        for at, scheme in enumerate(schemes)
        for chart in charts.audit(report, auditing.panels(report, scheme), f"audit{number}x{at}x")
    ]
    sources = auditing.by_source(report)
    return {
        "name": name,
        "report": report,
        "differs": differs,
        "charts": drawn,
        "sources": sources,
    }


def _sample(name: str, report: dict[str, Any]) -> dict[str, Any]:
    first, *lines = [line for line in sampled.table(report).splitlines() if line]
    return {"name": name, "first": first, "lines": lines, "warnings": report["warnings"]}


def _hub_texts(facts: Facts) -> dict[str, str]:
    return facts.ledger.documents.texts_by_id(hub.docid for hub in facts.hubs.top)


def _short_texts(facts: Facts) -> dict[str, str]:
    return examples.query_texts(facts.ledger, [(s.part, s.qid) for s in facts.short])
