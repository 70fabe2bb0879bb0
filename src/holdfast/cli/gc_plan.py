"""Plans of clean-ups in files: written whole or not at all, for their owner's eyes, and never over something else."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.core.cleanup.plan import Plan
    from holdfast.maintenance.asking import Asked
    from holdfast.maintenance.survey import Survey
    from holdfast.settings import Settings

_MODE = 0o600
# What of a database's address may stand in its query and says which it is.
_WHERE = ("host", "hostaddr", "port", "dbname", "service", "unix_socket")


def as_asked(found: Survey, asked: Asked, settings: Settings) -> Survey:
    """Return a survey whose plan says which store it is about, and which rules that were asked mean nothing there."""
    plan = found.plan
    told = (*plan.told, *_rules_of_nothing(found, asked))
    return replace(found, plan=replace(plan, told=told, store=store_of(settings)))


def _rules_of_nothing(found: Survey, asked: Asked) -> Iterator[str]:
    if asked.retention and not found.plan.rules.retention:
        yield "--retention takes nothing: there are no rules in [tool.holdfast.gc]"
    names = [item.name for item in found.state.experiments if not item.is_deleted]
    for rule in found.plan.rules.retention:
        if not any(fnmatchcase(name, glob) for name in names for glob in rule.experiments):
            globs = " or ".join(map(repr, rule.experiments))
            yield f"{rule} takes nothing: there is no experiment {globs}"


def check_store(plan: Plan, settings: Settings, what: str = "The plan") -> None:
    """Refuse a plan that was made for another tracking store; `what` names it in the error.

    Raises:
        InvalidInputError: It was.
    """
    from holdfast.errors import InvalidInputError

    ours = store_of(settings)
    if plan.store not in ("", ours):
        raise InvalidInputError(
            f"{what} was made for another tracking store: {plan.store}, and this is {ours}.",
            "go to its own project, or say with --tracking-uri which store is meant",
        )


def store_of(settings: Settings) -> str:
    """Return a tracking store's address without login and driver: two people's addresses of one store are the same."""
    from holdfast.core.uris import mask_uri

    scheme, mark, rest = mask_uri(settings.tracking_uri).partition("://")
    rest, _, query = rest.partition("?")
    host, slash, path = rest.partition("/")
    where = "&".join(part for part in query.split("&") if part.partition("=")[0] in _WHERE)
    return f"{scheme.partition('+')[0]}{mark}{host.rpartition('@')[2]}{slash}{path}{'?' if where else ''}{where}"


def split_done(home: Path, plan: Plan) -> tuple[Plan, list[str]]:
    """Return a plan without what earlier applies of it have done, and their names; what was undone since counts not.

    Raises:
        ArtifactError: A ledger cannot be read.
    """
    from holdfast.maintenance.ledger import ledgers_of

    earlier = [one for one in ledgers_of(home, plan) if one.noted.done and not one.noted.undoing]
    done = {number for one in earlier for number in one.noted.done}
    left = tuple(item for number, item in enumerate(plan.items) if number not in done)
    return replace(plan, items=left), [one.gc_id for one in earlier]


def check_target(name: str, home: Path) -> None:
    """Refuse a file that a plan must not take the place of; `-` is standard output.

    Args:
        name: The file.
        home: The project's ledgers: a plan that was carried out is in one of these, and may be replaced.

    Raises:
        InvalidInputError: It is a folder, or holds something else, or its folder is missing.
        ArtifactError: It cannot be read.
    """
    from holdfast.artifacts.landing import disk_errors
    from holdfast.errors import InvalidInputError

    path = Path(name)
    if name == "-":
        return
    if not name.strip() or path.is_dir():
        raise InvalidInputError(f"--plan {name!r} is a folder, and no file.", "give --plan the name of a file")
    if not path.parent.is_dir():
        raise InvalidInputError(
            f"{path} cannot be written: there is no folder {path.parent}.", "make it, or give --plan another file"
        )
    with disk_errors(f"Cannot read {path}"):
        content = path.read_bytes() if path.is_file() else b""
    if content:
        _check_content(path, content, home)


def _check_content(path: Path, content: bytes, home: Path) -> None:
    from holdfast.core.cleanup.plan import from_text
    from holdfast.errors import InvalidInputError
    from holdfast.maintenance.ledger import ledgers_of

    try:
        plan = from_text(content.decode("utf-8", "replace"))
    except InvalidInputError:
        raise InvalidInputError(
            f"{path} is there and is no plan of a clean-up; it is left as it is.", "give --plan another file"
        ) from None
    if plan.items and not any(one.noted.is_finished for one in ledgers_of(home, plan)):
        quoted = shlex.quote(str(path))
        raise InvalidInputError(
            f"{path} holds a plan that was not carried out; it is left as it is.",
            f"carry it out (holdfast gc --apply --plan {quoted}), remove it, or give --plan another file",
        )


def write_plan(name: str, plan: Plan, home: Path) -> None:
    """Write a plan; it is on the disk when this returns, and nobody but its owner may read it.

    Raises:
        InvalidInputError: As of `check_target`.
        ArtifactError: The disk is full, or the folder cannot be written.
    """
    from holdfast.artifacts.landing import disk_errors
    from holdfast.core.cleanup.plan import to_text

    text = to_text(plan)
    if name == "-":
        sys.stdout.write(text)
        return
    check_target(name, home)  # once more: the survey may have taken long
    path = Path(name)
    with disk_errors(f"Cannot write {path}"):
        if path.exists() and not path.is_file():  # a device or a pipe is written to as it is
            path.write_text(text, encoding="ascii")
            return
        _replace(path.resolve(), text.encode("ascii"))


def _replace(path: Path, content: bytes) -> None:
    import os
    import tempfile

    handle, part = tempfile.mkstemp(prefix=".holdfast-plan-", dir=path.parent)  # made for its owner alone
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), _MODE)
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_plan(name: str) -> Plan:
    """Read a plan; `-` is standard input.

    Raises:
        InvalidInputError: There is no such file, or it is no plan, or it was cut or edited.
        ArtifactError: It cannot be read.
    """
    from holdfast.artifacts.landing import disk_errors
    from holdfast.core.cleanup.plan import from_text
    from holdfast.errors import InvalidInputError

    if name == "-":
        return from_text(sys.stdin.buffer.read().decode("utf-8", "replace"))
    path = Path(name)
    if not path.exists() or path.is_dir():
        raise InvalidInputError(f"There is no plan {name!r}.", f"make one: holdfast gc --plan {name or 'FILE'}")
    with disk_errors(f"Cannot read {path}"):
        content = path.read_bytes()
    return from_text(content.decode("utf-8", "replace"))
