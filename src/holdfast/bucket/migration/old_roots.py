"""Which roots experiments still have, for somebody who has set the new one already."""

from __future__ import annotations

import posixpath
import shlex
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from holdfast.backend.locations_by_api import read_experiments
from holdfast.bucket.roots import Root, plain_form
from holdfast.core.uris import mask_uri
from holdfast.errors import HoldfastError, InvalidInputError
from holdfast.project import Project

_SHOWN = 5


def old_roots(project: Project, target: Root) -> list[tuple[str, int]]:
    """Return the roots of experiments that could be moved to another one, and how many have each, the most first.

    A folder that does not exist holds nothing that could be moved.

    Args:
        project: Whose tracking store is asked.
        target: The new root.

    Raises:
        BackendError: The store cannot be asked.
    """
    found: Counter[str] = Counter()
    for item in read_experiments(project.connection):
        kind, place = plain_form(item.location)
        if kind in ("s3", "file") and target.path_of(item.location) is None:
            root = _root_of(kind, place, target)
            found[root] += kind == "s3" or Path(root).is_dir()
    return [(root, count) for root, count in found.most_common() if count]


def already_named(project: Project, target: Root, experiments: Sequence[str] = ()) -> InvalidInputError:
    """Return the error for a new root that the settings name already, with the command that names an old one.

    Args:
        project: Whose tracking store is asked for the old ones; if it does not answer, none is named.
        target: The new root.
        experiments: Those that are to be moved.
    """
    said = f"The project's artifact root is {mask_uri(target.uri)} already"
    roots: list[tuple[str, int]] = []
    with suppress(HoldfastError):
        roots = old_roots(project, target)
    if not roots:
        return InvalidInputError(f"{said}.", "name the old root with --from")
    shown = ", ".join(f"{mask_uri(root)} ({count})" for root, count in roots[:_SHOWN])
    more = f" and {len(roots) - _SHOWN} more" if len(roots) > _SHOWN else ""
    named = [part for name in experiments for part in ("--experiment", name)]
    command = shlex.join(["holdfast", "s3", "migrate", "--from", mask_uri(roots[0][0]), "--to", target.uri, *named])
    return InvalidInputError(f"{said}; there are experiments in: {shown}{more}.", f"name the old root: {command}")


def _root_of(kind: str, place: str, target: Root) -> str:
    """Return what lies around an experiment's folder; the folder itself where that is a whole bucket or disk, or holds
    the new root."""
    parent = posixpath.dirname(place)
    is_whole = parent in ("/", "") or (kind == "s3" and parent.count("/") < 3)
    return place if is_whole or target.uri == parent or target.uri.startswith(f"{parent}/") else parent
