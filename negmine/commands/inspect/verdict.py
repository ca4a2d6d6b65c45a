"""Every file of artifacts against its checksum: a line for each artifact, and a verdict."""

from __future__ import annotations

from collections.abc import Sequence

from negmine.commands.inspect.places import Place
from negmine.commands.shortened import counted
from negmine.errors import InvalidDataError, NegmineError
from negmine.log import printable


def verify(places: Sequence[Place]) -> None:
    """Print what became of each artifact's files, and the verdict.

    Raises:
        InvalidDataError: a file is missing, changed or too many.
        MissingInputError: nothing of that, but an artifact is unfinished.
    """
    errors: list[NegmineError] = []
    files = 0
    for place in places:
        try:
            count = place.opened().verify()
        except NegmineError as error:
            errors.append(error)
            said = f"BROKEN  {place.path}: {error.what}"
            if error.where not in (None, str(place.path)):
                said += f" ({error.where})"
        else:
            files += count
            said = f"ok      {place.path}: {place.opened().stage}, {counted(count, 'file')}"
        print(printable(said))
    if not errors:
        whole = f"{counted(len(places), 'artifact')}, {counted(files, 'file')}"
        print(f"verdict: everything is as it was written ({whole})")
        return
    print(f"verdict: {len(errors):,} of {counted(len(places), 'artifact')} broken or unfinished")
    raise next((error for error in errors if isinstance(error, InvalidDataError)), errors[0])
