"""All checks, in an order in which each comes after those that it needs, and how some of them are chosen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from holdfast.doctor.check import Check
from holdfast.doctor.context import Role
from holdfast.doctor.journal import delivery, folder
from holdfast.doctor.machine import clients, config, credentials, dotenv, env, git, plugins, proxy
from holdfast.doctor.s3 import clock, endpoint, features, leftovers, lifecycle, parts, posture
from holdfast.doctor.s3 import reach as bucket_reach
from holdfast.doctor.s3 import round_trip as bucket_round_trip
from holdfast.doctor.s3.reading import for_readers
from holdfast.doctor.server import database, experiment, locations, reach, round_trip
from holdfast.errors import InvalidInputError
from holdfast.settings.names import closest

# The order in which results are shown.
GROUPS = ("env", "boto3", "credentials", "s3", "config", "server", "journal")
CATALOG: tuple[Check, ...] = (
    *config.FIRST,
    *env.CHECKS,
    *dotenv.CHECKS,
    *git.CHECKS,
    *proxy.CHECKS,
    *clients.CHECKS,
    *credentials.CHECKS,
    *endpoint.CHECKS,
    *clock.CHECKS,
    *credentials.LAST,
    *bucket_reach.CHECKS,
    *bucket_round_trip.CHECKS,
    *leftovers.CHECKS,
    *parts.CHECKS,
    *features.CHECKS,
    *posture.CHECKS,
    *lifecycle.CHECKS,
    *config.CHECKS,
    *plugins.CHECKS,
    *reach.CHECKS,
    *round_trip.CHECKS,
    *database.CHECKS,
    *experiment.CHECKS,
    *locations.CHECKS,
    *folder.CHECKS,
    *delivery.CHECKS,
)


def select(only: Iterable[str] = (), catalog: Sequence[Check] = CATALOG) -> set[str]:
    """Return the names of the checks that are asked for; of all where nothing is said.

    Args:
        only: Groups (`s3`), names (`s3.versioning`), beginnings of names (`s3.lifecycle`), or several joined by commas.
        catalog: The checks there are.

    Raises:
        InvalidInputError: One of them means no check.
    """
    wanted = [part.strip().lower() for item in only for part in item.split(",")]
    chosen = {check.name for check in catalog for word in wanted if _means(word, check)}
    for word in wanted:
        if not any(_means(word, check) for check in catalog):
            raise _unknown(word, catalog)
    return chosen if wanted else {check.name for check in catalog}


def _means(word: str, check: Check) -> bool:
    return word == check.group or ("." in word and check.name.startswith(word))


def _unknown(word: str, catalog: Sequence[Check]) -> InvalidInputError:
    guess = closest(word, [*GROUPS, *(check.name for check in catalog)])
    groups = f"the groups are {', '.join(GROUPS)}"
    hint = f"did you mean {guess!r}? {groups}" if guess else groups
    return InvalidInputError(f"There is no check {word!r}.", hint)


def with_needs(names: set[str], catalog: Sequence[Check] = CATALOG) -> list[Check]:
    """Return the checks of these names and all that they need or come after, each after those."""
    needed = set(names)
    for check in reversed(catalog):
        if check.name in needed:
            needed.update(check.needs, check.after)
    return [check for check in catalog if check.name in needed]


def for_role(role: Role, checks: Iterable[Check]) -> list[Check]:
    """Return the checks as they are made with keys of a role."""
    return [for_readers(check) if role == "reader" else check for check in checks]


def in_order(checks: Iterable[Check]) -> list[Check]:
    """Return the checks as they are shown: by group."""
    return sorted(checks, key=lambda check: GROUPS.index(check.group))
