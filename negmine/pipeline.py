"""From parsed options to stages: one stage, or all five of a recipe."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import Field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from negmine import log, recipe
from negmine.addresses import located, shown
from negmine.engine.engines import Asked
from negmine.engine.shares import WHOLE, LeftToOthers, Share
from negmine.errors import UsageError, did_you_mean
from negmine.models import devices
from negmine.params import Params
from negmine.params import values as params_values
from negmine.params.commands import AuditParams, ReportParams
from negmine.params.filter import FilterParams
from negmine.stages import words
from negmine.stages.outcome import Outcome
from negmine.stages.stage import STAGES, Step, chain, following, foresee, naming_models
from negmine.table.artifacts.replace import Replace

if TYPE_CHECKING:
    from negmine.rounds import Round


def run_stage(
    stage: str,
    flags: Mapping[str, Any],
    *,
    source: Path | None,
    out: Path,
    config: str | None,
    replacing: Replace,
    share: Share = WHOLE,
) -> Outcome:
    """Run one stage, or a share of it, from its flags; the artifact's path goes to stdout."""
    if share is not WHOLE and replacing is not Replace.NOTHING:
        raise UsageError(
            "--force and --rebuild do not go with --shard: one process would remove what others "
            "have just made",
            hint="Remove the old result, or choose another -o, before the shards start.",
        )
    params = _stage_params(stage, flags, config, share)
    step = Step(stage, params, out)
    try:
        outcome = _call(step, source, replacing, share=share)
    except LeftToOthers as left:
        from negmine.commands import collect

        outcome = collect.left(step, left, share)
    if outcome.up_to_date:
        # What was told when it was made counts as much now.
        log.warn(outcome.warnings)
    if str(out) != "-":
        print(shown(str(outcome.path)), flush=True)
    return outcome


def estimate_stage(
    stage: str,
    flags: Mapping[str, Any],
    *,
    source: Path | None,
    out: Path,
    config: str | None,
    replacing: Replace,
    as_json: bool,
    share: Share = WHOLE,
) -> None:
    """Tell on stdout what :func:`run_stage` would cost, and write nothing."""
    params = _stage_params(stage, flags, config, share)
    _estimate([Step(stage, params, out)], source, replacing, as_json, share)


def _stage_params(
    stage: str, flags: Mapping[str, Any], config: str | None, share: Share = WHOLE
) -> Params:
    loaded = recipe.load(config)
    where = f"{config} [{stage}]" if config else None
    params = params_values.build(
        STAGES[stage].params, loaded.tables.get(stage, {}), flags, where=where
    )
    loaded.check_places(params)
    check_device(params)
    if share is not WHOLE and any(
        path == "-" for field in fields(params) for _, path in _entries(params, field)
    ):
        raise UsageError(
            "--shard: nobody else can read this process's standard input",
            hint="Write it to a file that all shards can read.",
        )
    return _spooled(params)


def run_audit(
    filter_flags: Mapping[str, Any],
    audit_flags: Mapping[str, Any],
    *,
    scored: Path,
    out: Path | None,
    config: str | None,
    replacing: Replace,
    as_json: bool = False,
) -> Outcome:
    """Audit the filter that the flags and the recipe's ``[filter]`` table describe.

    By hiding known positives, or (``--judge``, ``--sheet``, ``--gold``) by a sample of the chosen.
    What is printed is the path; without one, or with ``as_json``, the report.
    """
    params, audit, given = _of_audit(filter_flags, audit_flags, config)
    from negmine.commands import audit as auditing
    from negmine.commands.audit import sampled

    if sampled.is_sampled(audit_flags):
        _check_paths(params, scored, out or scored)
        outcome, report = sampled.run(
            params, audit, scored, out, of_filter=given, replacing=replacing
        )
    elif out is None:
        raise UsageError("-o is missing", hint="Say where the result goes.")
    else:
        _check_paths(params, scored, out)
        outcome = auditing.run(params, audit, scored, out, replacing=replacing)
        report = auditing.stored(out)[1] if as_json else {}
    if outcome.up_to_date:
        log.event(f"audit: {outcome.path} is up to date", stage="audit", up_to_date=True)
    if as_json:
        print(log.printable_json(report, indent=1), flush=True)
    else:
        print(shown(sampled.table(report) if out is None else str(out)), flush=True)
    return outcome


def estimate_audit(
    filter_flags: Mapping[str, Any],
    audit_flags: Mapping[str, Any],
    *,
    scored: Path,
    config: str | None,
    as_json: bool = False,
) -> None:
    """Tell what the judge of an audit would be asked; nobody is asked, and nothing is written."""
    params, audit, given = _of_audit(filter_flags, audit_flags, config)
    from negmine.commands.audit import sampled
    from negmine.commands.estimate import audit as estimating
    from negmine.commands.estimate import report

    if not sampled.is_sampled(audit_flags):
        raise UsageError(
            "--dry-run counts what a judge would be asked, and none is",
            hint="Give --judge NAME=llm:MODEL@URL, or leave --dry-run out.",
        )
    costs = [estimating.cost_of_audit(params, audit, scored, given)]
    print(shown(report.as_json(costs) if as_json else report.as_table(costs)), flush=True)


def _of_audit(
    filter_flags: Mapping[str, Any], audit_flags: Mapping[str, Any], config: str | None
) -> tuple[FilterParams, AuditParams, list[str]]:
    """What is audited, how, and which options of the filter were given."""
    loaded = recipe.load(config)
    where = f"{config} [filter]" if config else None
    table = loaded.tables.get("filter", {})
    params = params_values.build(FilterParams, table, filter_flags, where=where)
    loaded.check_places(params)
    audit = params_values.build(AuditParams, {}, audit_flags)
    return params, audit, [*filter_flags, *(key.replace("-", "_") for key in table)]


def run_report(
    flags: Mapping[str, Any], *, ledger: Path, other: Path | None, out: Path, replacing: Replace
) -> Outcome:
    """Make the page of one ledger, or of two side by side."""
    params = params_values.build(ReportParams, {}, flags)
    _check_paths(params, ledger, out)
    if other is not None:
        _check_paths(params, other, out)
    from negmine.commands.report import build

    outcome = build.run(params, ledger, other, out, replacing=replacing)
    if outcome.up_to_date:
        log.event(f"report: {outcome.path} is up to date", stage="report", up_to_date=True)
    if str(out) != "-":
        print(shown(str(outcome.path)), flush=True)
    return outcome


def _spooled(params: Params) -> Params:
    """``params`` with standard input (``-``) replaced by a temporary copy of it."""
    values = {field.name: _entries(params, field) for field in fields(params)}
    given = [name for name, entries in values.items() for _, path in entries if path == "-"]
    if not given:
        return params
    if len(given) > 1:
        options = " and ".join(f"--{name}" for name in given)
        raise UsageError(f"{options} cannot both read standard input")
    from negmine.inputs.stdin import copy_of_stdin

    name = given[0]
    copy = str(copy_of_stdin(name))
    entries = tuple(prefix + (copy if path == "-" else path) for prefix, path in values[name])
    several = not isinstance(getattr(params, name), str)
    changes: dict[str, Any] = {name: entries if several else copy}
    return replace(params, **changes)


def _entries(params: Params, field: Field[Any]) -> list[tuple[str, str]]:
    """(``NAME=`` or nothing, path) of every input that a parameter names."""
    return params_values.entries(params, field) if field.metadata["path"] else []


def _spooled_inputs(
    recipe_path: str, inputs: Mapping[str, Sequence[str] | None]
) -> dict[str, list[str]]:
    """``inputs`` with standard input replaced by a copy: more than one stage reads it."""
    named = {name: list(specs) for name, specs in inputs.items() if specs}
    given = [name for name, specs in named.items() for spec in specs if spec == "-"]
    if len(given) + (recipe_path == "-") > 1:
        raise UsageError("only one of the recipe and its inputs can be read from standard input")
    if not given:
        return named
    from negmine.inputs.stdin import copy_of_stdin

    copy = str(copy_of_stdin(given[0]))
    return {**named, given[0]: [copy if spec == "-" else spec for spec in named[given[0]]]}


def run_recipe(
    path: str,
    *,
    out: str | None,
    inputs: Mapping[str, Sequence[str] | None],
    changes: Sequence[str],
    memory: str | None,
    replacing: Replace,
    tag: str | None = None,
    allow_empty: bool = False,
    number: int = 1,
    encoders: Sequence[str] = (),
    engine: Asked | None = None,
    command: Sequence[str] = (),
) -> None:
    """Run every stage of a recipe; the training set's path goes to stdout.

    What the stages warned of is told again at the end, each warning with its stage, and then what
    there is to do with the results.

    Args:
        path: the recipe.
        out: the work folder; default: the recipe's.
        inputs: files instead of the recipe's, by key.
        changes: ``STAGE.KEY=VALUE``.
        memory: ceiling of every stage.
        replacing: what may be replaced; what is up to date stays, but for ``Replace.ALL``.
        tag: of the ledger and of what is exported; default: the recipe's.
        allow_empty: whether a training set without examples is fine.
        number: of the round.
        encoders: ``NAME=MODEL`` instead of the recipe's.
        engine: who makes the parts; None = this process.
        command: the words of the command line, for who finds the parts of an engine uncollected.
    """
    if allow_empty:
        changes = [*changes, "export.allow-empty=true"]
    from negmine.commands import ending
    from negmine.models import shared

    source: Path | None = None
    warnings: list[str] = []
    steps, this = _recipe_steps(path, out, inputs, changes, memory, tag, number, encoders)
    try:
        with shared.between_stages() as kept, ExitStack() as stack:
            driver = None
            if engine is not None:
                from negmine.commands import driving

                driver = stack.enter_context(driving.driver(engine, command))
            for place, step in enumerate(steps, 1):
                now, ahead = naming_models(steps, place)
                kept.turn(now, ahead)
                runs = None if driver is None else partial(driver.run, names=now)
                outcome = _call(step, source, replacing, place, len(steps), driven=runs)
                warnings += ending.warnings(step, outcome)
                source = following(step, source)
    finally:
        log.warn(warnings)
    for line in (*ending.following(steps), *this.following(steps)):
        log.event(line)
    print(shown(str(source)), flush=True)


def estimate_recipe(
    path: str,
    *,
    out: str | None,
    inputs: Mapping[str, Sequence[str] | None],
    changes: Sequence[str],
    memory: str | None,
    replacing: Replace,
    tag: str | None = None,
    allow_empty: bool = False,
    number: int = 1,
    encoders: Sequence[str] = (),
    engine: Asked | None = None,
    as_json: bool,
) -> None:
    """Tell on stdout what :func:`run_recipe` would cost, and write nothing."""
    steps, _ = _recipe_steps(path, out, inputs, changes, memory, tag, number, encoders)
    _estimate(steps, None, replacing, as_json, engine=engine)


def _estimate(
    steps: Sequence[Step],
    source: Path | None,
    replacing: Replace,
    as_json: bool,
    share: Share = WHOLE,
    engine: Asked | None = None,
) -> None:
    for step in steps:
        _check_paths(step.params, source, step.out)
    # The stages are imported with it, as a run would import them.
    started = time.perf_counter()
    from negmine.commands import estimate
    from negmine.commands.estimate import report

    imported = time.perf_counter() - started
    costs = estimate.estimate(steps, source, replacing, imported)
    among = None if engine is None else estimate.among(steps, costs, engine)
    shows = report.as_json if as_json else report.as_table
    told = shows(costs, share, among)
    print(shown(told), flush=True)


def _recipe_steps(
    path: str,
    out: str | None,
    inputs: Mapping[str, Sequence[str] | None],
    changes: Sequence[str],
    memory: str | None,
    tag: str | None = None,
    number: int = 1,
    encoders: Sequence[str] = (),
) -> tuple[list[Step], Round]:
    """The stages of a recipe with their parameters and where their results go, and the round."""
    # It knows the readers of users' files, which a stage alone does not need.
    from negmine import rounds

    options = {f"--{key}": list(specs) for key, specs in inputs.items() if specs}
    options |= {"--set": list(changes)}
    options |= {
        "--memory": [] if memory is None else [memory],
        "--tag": [] if tag is None else [tag],
    }
    command = rounds.command_of(path, out, options)
    loaded = recipe.load(path)
    train = inputs.get("train")
    if train:
        from negmine import cleaning

        inputs = cleaning.inputs(inputs, number)
    tag = loaded.tag if tag is None else tag
    _check_tag(tag, path)
    params = _recipe_params(loaded, path, inputs, changes, memory)
    params["index"] = rounds.with_encoders(params["index"], encoders, changes)
    output = loaded.output
    if train:
        params = cleaning.of_train(params, changes)
        output = cleaning.output(params["export"], train) or output
    work = out or loaded.work
    if work is None:
        raise UsageError(
            "no work folder", where=path, hint='Give -o DIR, or set work = "..." in the recipe.'
        )
    if Path(loaded.output).is_absolute() or ".." in Path(loaded.output).parts:
        raise UsageError(
            f"output = {loaded.output!r} is not inside the work folder",
            where=path,
            hint="Name a file or folder, such as train.parquet.",
        )
    this = rounds.Round(number, located(work), command, tag)
    steps = chain(rounds.of_round(params, this), this.folder, output, tag)
    for step in steps:
        loaded.check_places(step.params)
        check_device(step.params)
    foresee(steps)
    if out is None and work in loaded.elsewhere:
        before = loaded.elsewhere[work]
        log.warn(
            [
                f"the results go to {work}, beside the recipe; those in {before} stay as they are "
                f"(-o {before} goes on with them)"
            ]
        )
    return steps, this


def _recipe_params(
    loaded: recipe.Recipe,
    path: str,
    inputs: Mapping[str, Sequence[str] | None],
    changes: Sequence[str],
    memory: str | None,
) -> dict[str, Any]:
    """The parameters of every stage of a recipe: its own, and what the command line changes."""
    given = _spooled_inputs(path, inputs)
    tables = {stage: dict(loaded.tables.get(stage, {})) for stage in STAGES}
    if "pairs" in given:
        for stage, keys in (("index", ["corpus"]), ("retrieve", ["queries", "qrels"])):
            for key in keys:
                tables[stage].pop(key, None)
    for key, value in given.items():
        for stage in ("index", "retrieve"):
            if key in {field.name for field in fields(STAGES[stage].params)}:
                tables[stage][key] = value
    _check_changes(changes, given, memory)
    for change in changes:
        _change(tables, change)
    if memory is not None:
        for table in tables.values():
            table["memory"] = memory
    return {
        name: params_values.build(stage.params, tables[name], {}, where=f"{path} [{name}]")
        for name, stage in STAGES.items()
    }


def check_device(params: Params) -> None:
    """See that the GPU that a stage is to run on is there, before anything is read or written.

    Raises:
        NegmineError: as :func:`negmine.models.devices.require`.
    """
    device = getattr(params, "device", "auto")
    if device not in ("auto", "cpu"):
        devices.require(device)


def _check_tag(tag: str | None, path: str) -> None:
    """See that a tag can be a part of names.

    Raises:
        UsageError: it cannot.
    """
    if tag is not None and re.fullmatch(r"[A-Za-z0-9_-]+", tag) is None:
        raise UsageError(
            f"the tag {tag!r} is not a name",
            where=path,
            hint="Letters, digits, _ and - make one: --tag margin-01 for ledger-margin-01.",
        )


def _check_changes(changes: Sequence[str], inputs: Mapping[str, Any], memory: str | None) -> None:
    """See that no change undoes another one, or an option of its own.

    Raises:
        UsageError: two values for one key of the recipe.
    """
    flags = {f"{stage}.{key}": f"--{key}" for stage in ("index", "retrieve") for key in inputs}
    if memory is not None:
        flags |= {f"{stage}.memory": "--memory" for stage in STAGES}
    seen: dict[str, str] = {}
    for change in changes:
        stage, _, rest = change.partition("=")[0].partition(".")
        key, _, entry = rest.partition(".")
        key = f"{stage}.{key.replace('_', '-')}"
        if key in flags:
            raise UsageError(
                f"--set {change!r} and {flags[key]} set the same key: give one of them"
            )
        name = f"{key}.{entry}"
        # All of a table after one entry of it would take the entry away.
        other = seen.get(name) or (None if entry else seen.get(key))
        if other is not None:
            raise UsageError(f"--set {change!r} undoes --set {other!r}: give one of them")
        seen[name] = seen[key] = change


def _change(tables: dict[str, dict[str, Any]], change: str) -> None:
    """Apply ``STAGE.KEY=VALUE``, or ``STAGE.KEY.NAME=VALUE`` to one entry of a table such as
    ``encoder``; the value is TOML, or a bare string."""
    name, separator, text = change.partition("=")
    stage, dot, rest = name.partition(".")
    key, inside, entry = rest.partition(".")
    if not separator or not dot:
        raise UsageError(
            f"--set {change!r} is not STAGE.KEY=VALUE", hint="For example: --set retrieve.k=50"
        )
    if stage not in tables:
        raise UsageError(f"--set: no stage '{stage}'", hint=did_you_mean(stage, tables))
    value = params_values.parsed(text)
    known = {field.name: field for field in fields(STAGES[stage].params)}
    plain = key.replace("-", "_")
    if plain not in known:
        names = sorted(name.replace("_", "-") for name in known)
        raise UsageError(f"--set: [{stage}] has no key '{key}'", hint=did_you_mean(key, names))
    before = tables[stage].pop(plain.replace("_", "-"), tables[stage].pop(plain, None))
    if inside:
        of_models = known[plain].metadata["per_model"]
        if of_models and before is not None and not isinstance(before, dict):
            before = params_values.by_model(before)
        if not isinstance(before, dict | None) or not (of_models or isinstance(value, str)):
            raise UsageError(
                f"--set {change!r}: [{stage}] {key} is no table of names and models",
                hint="For example: --set index.encoder.minilm=MODEL",
            )
        value = {**(before or {}), entry: value}
    tables[stage][plain] = value


def _check_paths(params: Params, source: Path | None, out: Path) -> None:
    """Refuse file names that Arrow and Java could not open.

    Raises:
        UsageError: a name holds bytes that are no UTF-8.
    """
    given = [path for field in fields(params) for _, path in _entries(params, field)]
    given += [getattr(params, field.name) for field in fields(params) if field.metadata["written"]]
    for path in (*given, source, out):
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise UsageError(
                "this name is not valid UTF-8", where=str(path), hint="Rename it, or link to it."
            ) from None


def _call(
    step: Step,
    source: Path | None,
    replacing: Replace,
    number: int = 0,
    of: int = 0,
    share: Share = WHOLE,
    driven: Callable[..., Outcome] | None = None,
) -> Outcome:
    """Run a stage, the ``number``-th of a chain of so many, or alone; ``driven`` by an engine."""
    _check_paths(step.params, source, step.out)
    stage = step.stage
    run = partial(STAGES[stage].run, step.params, source, step.out)
    with log.working_on(log.Place(stage, str(step.out), number, of)):
        if driven is not None and STAGES[stage].by_parts:
            outcome = driven(run, step, source, replacing=replacing)
        else:
            outcome = run(replacing, share)
    if outcome.up_to_date:
        log.event(f"{stage}: {outcome.path} is up to date", stage=stage, up_to_date=True)
    else:
        log.event(
            f"{stage}: wrote {outcome.path} ({words.told(outcome.counts)})",
            stage=stage,
            **outcome.counts,
        )
    return outcome
