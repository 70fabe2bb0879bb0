"""Links below experiments: what lies behind one belongs to whoever made it, and no clean-up touches it.

A link above an experiment's folder (`/data -> /mnt/data`) is only another name for the same disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from holdfast.core.cleanup.places import covers
from holdfast.core.cleanup.records import Need, State
from holdfast.maintenance.places import Places, is_local

_WHY = "its folder is a link: {link} -> {target}, and whoever made it"


class _Owner(NamedTuple):
    experiment_id: str
    place: str
    run_id: str = ""
    model_id: str = ""


def needs_of_links(state: State, places: Places) -> list[Need]:
    """Return the runs, logged models and traces whose files lie behind a link below their experiment's folder.

    Both the link and what it leads to are needed.

    Args:
        state: What was read of the store.
        places: What made the places in it.
    """
    homes = {item.experiment_id: _Home(item.place, places) for item in state.experiments}
    nowhere = _Home("", places)
    found: dict[Need, None] = {}
    for owner in _owners(state):
        home = homes.get(owner.experiment_id, nowhere)
        for address in places.addresses_of(owner.place):
            found.update(dict.fromkeys(_needs(owner, address, home)))
    return list(found)


def _owners(state: State) -> Iterator[_Owner]:
    yield from (_Owner(run.experiment_id, run.place, run_id=run.run_id) for run in state.runs)
    yield from (_Owner(model.experiment_id, model.place, model_id=model.model_id) for model in state.models)
    yield from (_Owner(trace.experiment_id, trace.place) for trace in state.traces)


def _needs(owner: _Owner, address: str, home: _Home) -> Iterator[Need]:
    straight = home.below(address)
    if straight == owner.place:
        return
    link = _link_in(straight, home.place) if straight else address
    why = _WHY.format(link=link, target=os.path.realpath(link))
    yield Need(why, owner.run_id, owner.model_id, place=owner.place)
    yield Need(why, place=straight or address)


class _Home:
    """An experiment's folder, and the paths by which it is known."""

    def __init__(self, place: str, places: Places) -> None:
        self.place = place if is_local(place) else ""
        self._forms = (self.place, *places.addresses_of(self.place)) if self.place else ()

    def below(self, address: str) -> str:
        """Return an address with the links above the folder followed, and none below; empty where it lies elsewhere."""
        # The shortest: a run's link to the folder of its own experiment is no other name of that folder.
        inside = [form for form in self._forms if covers(form, address) and form != address]
        return self.place + address[len(min(inside, key=len)) :] if inside else ""


def _link_in(path: str, above: str) -> str:
    """Return the first link on a path below a folder; the path itself where there is none any more."""
    names = path[len(above) + 1 :].split("/")
    steps = (f"{above}/{'/'.join(names[: count + 1])}" for count in range(len(names)))
    return next(filter(os.path.islink, steps), path)
