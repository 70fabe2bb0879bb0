"""The real delivery over the faulty file system, to a store that fails before and after the effect."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from unittest import mock

import pytest
from journal_checks import log_a_bit
from journal_world import RUN_ID, SURE, Build, World

from holdfast.core.sending import KEY_TAG, Unavailable
from holdfast.delivery.aside import load_asides
from holdfast.delivery.identity import RunAbout, save_about
from holdfast.delivery.run import RunDelivery
from holdfast.journal.codec import Kind
from holdfast.journal.layout import JournalPaths
from holdfast.journal.lease import Life
from holdfast.testing.filesystem import Crash
from holdfast.testing.memory_store import MemoryStore, StoredRun

LOCAL = RunAbout("local-1", key="key-1", experiment_id="0", user="me", start_time_ms=1, tags={"begun": "offline"})


class _Free:
    """A lock that is free: there is one deliverer here."""

    def __init__(self, path: object) -> None:
        self.path = path

    def acquire(self, timeout_s: float = 0.0) -> bool:
        return True

    def __enter__(self) -> _Free:
        return self

    def __exit__(self, *_: object) -> None:
        return


class DeliveredWorld(World):
    """A world whose deliverer is the real one.

    Args:
        about: How the run was begun; None is a run of the server's that is only logged to.
    """

    def __init__(self, about: RunAbout | None = None) -> None:
        super().__init__(Build())
        self.server = MemoryStore()
        self._patches = [
            mock.patch("holdfast.delivery.streams.life_of", self._life_of),
            mock.patch("holdfast.delivery.run.FileLock", _Free),
            mock.patch("holdfast.delivery.identity.FileLock", _Free),
            mock.patch("holdfast.delivery.run._SAVE_EVERY_S", -1.0),
        ]
        for patch in self._patches:
            patch.start()
        if about is None:
            self.server.add_run(RUN_ID)
        else:
            save_about(self.files, self.run, about)

    def close(self) -> None:
        for patch in self._patches:
            patch.stop()
        super().close()

    def _life_of(self, paths: JournalPaths, process: str, own: str | None = None) -> Life:
        return Life.ALIVE if process in {journal._name for journal in self.journals} else Life.GONE

    def deliver(self) -> None:
        if self.segments():
            with suppress(Unavailable):
                RunDelivery(self.paths, RUN_ID, self.files).deliver(self.server)

    @property
    def stored(self) -> StoredRun:
        """The one run on the server."""
        runs = [run for run in self.server.runs.values() if not run.ref.deleted]
        assert len(runs) == 1, f"runs on the server: {[run.ref for run in runs]}"
        return runs[0]

    def _check_store(self) -> None:
        self.server.calm()
        self.deliver()
        outcome = RunDelivery(self.paths, RUN_ID, self.files).deliver(self.server)
        assert outcome.is_complete
        assert (outcome.metrics, outcome.records) == (0, 0)
        refused = load_asides(self.files, self.run.aside)
        assert not refused, f"set aside: {refused}"
        self._check_metrics()
        self._check_params_and_tags()

    def _check_metrics(self) -> None:
        stored = Counter((p.key, struct.pack("<d", p.value), p.step) for p in self.stored.history.values())
        assert set(stored.values()) <= {1}, "stored more than once"
        sure = {point for call in self.calls if call.fate == SURE for point in _points(call)}
        tried = {point for call in self.calls for point in _points(call)}
        assert sure <= set(stored), f"not delivered: {sure - set(stored)}"
        assert set(stored) <= tried

    def _check_params_and_tags(self) -> None:
        for call in self.calls:
            if call.kind is Kind.ENTITIES and call.fate == SURE:
                for key, value in call.content["p"]:
                    assert self.stored.params[key] == value
        numbers = [call.number for call in self.calls if call.kind is Kind.ENTITIES and call.fate == SURE]
        last = self.calls[numbers[-1]].content["t"] if numbers else []
        assert dict(last).items() <= self.stored.tags.items()
        ended = [c for c in self.calls if c.kind is Kind.UPDATE and c.fate == SURE]
        if ended:
            assert self.stored.ref.status == "FINISHED"


def _points(call: Any) -> list[tuple[str, bytes, int]]:
    return [(n, struct.pack("<d", v), call.number) for n, v in zip(call.names, call.values, strict=True)]


def _play(world: DeliveredWorld) -> None:
    for step in log_a_bit(world):
        world.attempt(step)
    world.attempt(partial(world.entry, Kind.ENTITIES, {"m": [], "p": [["lr", "0.1"]], "t": [["a", "the last"]]}))
    world.attempt(world.deliver)


def _each(
    about: RunAbout | None, count: Callable[[DeliveredWorld], int], arm: Callable[[DeliveredWorld, int], None]
) -> None:
    with DeliveredWorld(about) as world:
        first = count(world)
        _play(world)
        last = count(world)
        world.check()
    for number in range(first, last):
        with DeliveredWorld(about) as world:
            arm(world, number)
            _play(world)
            try:
                world.check()
            except AssertionError as error:
                raise AssertionError(f"with a fault at {number}: {error}") from error


@pytest.mark.parametrize("about", [None, LOCAL], ids=["on the server", "begun offline"])
class TestDelivery:
    def test_killed_before_any_file_operation(self, about: RunAbout | None) -> None:
        _each(about, lambda world: world.files.count, lambda world, number: world.files.crash(number))

    def test_any_file_operation_fails(self, about: RunAbout | None) -> None:
        _each(about, lambda world: world.files.count, lambda world, number: world.files.fail(number))

    @pytest.mark.parametrize("after", [False, True])
    def test_any_answer_is_lost(self, about: RunAbout | None, after: bool) -> None:
        _each(about, lambda world: len(world.server.calls), lambda world, number: world.server.fail(number, after))

    @pytest.mark.parametrize("after", [False, True])
    def test_killed_at_any_request(self, about: RunAbout | None, after: bool) -> None:
        def arm(world: DeliveredWorld, number: int) -> None:
            def die() -> None:
                world.files.crash(world.files.count)  # the dead note nothing
                raise Crash

            world.server.strike(number, die, after)

        _each(about, lambda world: len(world.server.calls), arm)


def test_a_run_begun_offline_is_created_once() -> None:
    with DeliveredWorld(LOCAL) as world:
        world.metrics({"loss": 1.0})
        create = 1  # after the search for its key
        world.server.fail(create, after=True)
        world.deliver()
        world.deliver()
        assert world.stored.tags[KEY_TAG] == "key-1"
        world.check()


def test_a_deserted_run_is_ended() -> None:
    with DeliveredWorld() as world:
        world.entry(Kind.OWNED, {})
        world.metrics({"loss": 1.0})
        world.kill(0)
        world.check()
        assert world.stored.ref.status == "FAILED"


def test_an_empty_segment_does_not_hold_up_the_delivery() -> None:
    """A process was killed between creating its segment and writing the first byte."""
    with DeliveredWorld() as world:
        world.metrics({"loss": 1.0})
        world.files.put(world.run.folder / "77-1-00000001a.000000.1.seg", b"")
        world.check()


def test_a_record_that_is_being_written_on_another_machine_is_waited_for() -> None:
    with DeliveredWorld() as world:
        world.metrics({"loss": 1.0})
        (name,) = world.segments()
        whole = world.files.content(world.run.folder / name.name)
        delivery = RunDelivery(world.paths, RUN_ID, world.files)  # kept from pass to pass, as the shipper does
        with mock.patch("holdfast.delivery.streams.life_of", return_value=Life.ELSEWHERE):
            for content in (whole[:-5], whole):
                world.files.put(world.run.folder / name.name, content)
                delivery.deliver(world.server)
        assert len(world.stored.history) == 1


def test_what_is_refused_is_set_aside_and_the_rest_is_stored() -> None:
    with DeliveredWorld() as world:
        world.entry(Kind.ENTITIES, {"m": [], "p": [["lr", "0.1"]], "t": []})
        world.entry(Kind.ENTITIES, {"m": [], "p": [["lr", "0.2"], ["batch", "8"]], "t": [["a", "b"]]})
        world.metrics({"loss": 1.0})
        world.deliver()
        assert world.stored.params == {"lr": "0.1", "batch": "8"}
        assert world.stored.tags["a"] == "b"
        assert len(world.stored.history) == 1
        assert [item.content for item in load_asides(world.files, world.run.aside)] == [["lr", "0.2"]]
