"""What is given twice: an option that takes one value is refused, where Click keeps the last."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from typer.core import TyperCommand

from negmine.params.option import MOST_USED

#: The words of the command that is parsed, for those who write down how a result is made.
called_with: list[str] = []
#: Headings that come before all others.
_FIRST = ("Arguments", MOST_USED)


#: What the value of a switch is called, which may be given for one model.
SWITCH = "on|off"
#: What may follow a switch as its value; all else is the next argument.
_SWITCHED = re.compile(r"\w+=[^/.]*|on|off|true|false|yes|no", re.IGNORECASE)


class GivenOnceCommand(TyperCommand):
    """A command whose options may be repeated where all their values are used, and only there."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Options under their headings, those that matter most first; plain text in a pipe, too."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                heading = getattr(parameter, "rich_help_panel", None) or "Options"
                of_arguments = parameter.param_type_name == "argument"
                sections.setdefault("Arguments" if of_arguments else heading, []).append(record)
        # What every command has comes last.
        order = sorted(sections, key=lambda heading: (heading == "Options", heading not in _FIRST))
        for heading in order:
            with formatter.section(heading):
                formatter.write_dl(sections[heading])

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As Click's, after a look at how often each option is given."""
        called_with[:] = [str(ctx.info_name), *args]
        args = _with_values(args, self.get_params(ctx))
        if not ctx.resilient_parsing:
            _, _, order = self.make_parser(ctx).parse_args(args=list(args))
            for option in _repeated(order):
                ctx.fail(
                    f"{' / '.join(option.opts)} is given more than once and takes one value. "
                    "Give it once."
                )
        found: list[str] = super().parse_args(ctx, args)
        return found


def _with_values(args: Sequence[str], parameters: Iterable[Any]) -> list[str]:
    """Switches of models with the value that they stand for: ``--normalize`` is ``=on``."""
    switches = [one for one in parameters if (one.metavar or "").endswith(SWITCH)]
    on = {one.opts[0]: one.opts[0] for one in switches}
    off = {one.opts[1]: one.opts[0] for one in switches}
    found: list[str] = []
    for place, argument in enumerate(args):
        if argument == "--":
            return [*found, *args[place:]]
        following = args[place + 1] if place + 1 < len(args) else ""
        if argument in off:
            found.append(f"{off[argument]}=off")
        elif argument in on and not _SWITCHED.fullmatch(following):
            found.append(f"{argument}=on")
        else:
            found.append(argument)
    return found


def _repeated(order: Iterable[Any]) -> list[Any]:
    """The options of one value among parameters as they were given."""
    times = Counter(id(parameter) for parameter in order)
    return [
        parameter
        for parameter in {id(parameter): parameter for parameter in order}.values()
        if times[id(parameter)] > 1 and not takes_several(parameter)
    ]


def takes_several(parameter: Any) -> bool:
    """Whether a parameter of Click's means no less when it is repeated."""
    if parameter.param_type_name != "option" or parameter.multiple or parameter.count:
        return True
    # A switch that nothing turns back says the same again.
    return bool(parameter.is_flag) and not parameter.secondary_opts
