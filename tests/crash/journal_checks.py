"""What must be true of a journal, each as a function of the build under test.

`test_journal_model.py` runs them on the real one, `test_planted_bugs.py` on builds with a bug, where one must fail.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from journal_world import IS_LONG, NEVER, SURE, Build, Interrupt, World, seeded

from holdfast.errors import JournalError
from holdfast.journal.checkpoint import Checkpoint
from holdfast.journal.codec import Kind
from holdfast.testing.filesystem import Crash

DAY_MS = 86_400_000
WIDE = {f"layer {number}/größe": number / 3 for number in range(12)}


def log_a_bit(world: World) -> Iterator[Callable[[], object]]:
    """Yield the steps of a short training run that does everything once."""
    yield partial(world.entry, Kind.OWNED, {})
    yield partial(world.metrics, {"loss": 0.5, "acc": 0.1})
    yield partial(world.entry, Kind.ENTITIES, {"p": [["lr", "0.1"]], "t": [["a", "\ud800 ü"]], "m": []})
    yield partial(world.metrics, {"loss": 0.25, "acc": math.nan})
    yield partial(world.metrics, {"loss": math.inf}, time_ms=-5)
    yield world.sync
    yield partial(world.metrics, WIDE)
    yield partial(world.metrics, {"loss": -0.0, "acc": 1e-310})
    yield partial(world.metrics, {"loss": 0.125, "acc": 0.4}, slot=1)
    yield world.deliver
    yield partial(world.metrics, WIDE)
    yield partial(world.metrics, WIDE)
    yield partial(world.entry, Kind.UPDATE, {"status": "FINISHED"})
    yield world.sync
    yield partial(world.metrics, {"loss": 0.0, "acc": 0.5})
    yield world.deliver
    yield partial(world.entry, Kind.LEFT, {})
    yield partial(world.metrics, {"loss": 0.0, "acc": 0.5})


def _play(world: World, arm: Callable[[World], None] = lambda _: None) -> None:
    arm(world)
    for step in log_a_bit(world):
        world.attempt(step)


def _operations(build: Build, sync: str) -> range:
    with World(build, sync) as world:
        first = world.files.count
        _play(world)
        return range(first, world.files.count)


def _each(build: Build, arm: Callable[[World, int], None], sync: str = "interval") -> None:
    """Play the scenario once for each operation, with a fault there, and check what is left."""
    for number in _operations(build, sync):
        with World(build, sync) as world:
            _play(world, partial(_arm, arm, number))
            _checked(world, f"with a fault at operation {number} of {sync}: {_around(world, number)}")


def _arm(arm: Callable[[World, int], None], number: int, world: World) -> None:
    arm(world, number)


def _around(world: World, number: int) -> str:
    return ", ".join(f"{name} {path.name[-20:]}" for name, path in world.files.log[number : number + 2])


def _checked(world: World, where: str) -> None:
    try:
        world.check()
    except AssertionError as error:
        raise AssertionError(f"{where}: {error}") from error


def check_without_faults(build: Build) -> None:
    """All is there, also where it is read in small pieces."""
    for chunk_bytes in (1, 64, 1 << 20):
        with World(build, chunk_bytes=chunk_bytes) as world:
            _play(world)
            assert all(call.fate == SURE for call in world.calls)
            world.check()


def check_failures(build: Build) -> None:
    """An operation fails, and so do those that are to mend it."""
    # With `always`, a record whose sync fails and that cannot be cut off either is there; nothing can be done about it.
    for sync, code, count in (("interval", errno.EIO, 1), ("interval", errno.EROFS, 3), ("always", errno.ENOSPC, 1)):
        _each(build, lambda world, number, c=code, n=count: world.files.fail(number, c, n), sync)  # type: ignore[misc]


def check_short_writes(build: Build) -> None:
    """A write takes a part; it says so, or fails, and perhaps it cannot be cut off."""
    for taken in (0, 1, 13, 10_000):
        _each(build, lambda world, number, t=taken: world.files.shorten(number, t))  # type: ignore[misc]
        _each(build, lambda world, number, t=taken: world.files.shorten(number, t, errno.ENOSPC))  # type: ignore[misc]

    def stuck(world: World, number: int) -> None:
        world.files.shorten(number, 20)
        world.files.fail(number + 1, errno.EROFS)

    _each(build, stuck)


def check_kills(build: Build) -> None:
    """The process is killed before an operation, or in the middle of a write."""
    for taken in (None, 5, 10_000):
        _each(build, lambda world, number, t=taken: world.files.crash(number, t))  # type: ignore[misc]


def check_power_cuts(build: Build) -> None:
    """The power fails before an operation: what was synced is there."""
    for sync in ("interval", "always"):
        for number in _operations(build, sync):
            for seed in (None, 1, 2, 3) if IS_LONG else (None, 1):
                with World(build, sync) as world:
                    _play_until_dark(world, number, seeded(seed))
                    _checked(world, f"dark at operation {number} of {sync}, seed {seed}")


def _play_until_dark(world: World, number: int, random: Random | None) -> None:
    world.files.crash(number)
    try:
        for step in log_a_bit(world):
            step()
    except Crash:
        pass
    world.reboot(power_cut=True, random=random)
    for step in log_a_bit(world):
        world.attempt(step)


def check_interrupts(build: Build) -> None:
    """A signal handler raises in the middle of an operation, before or after it took effect."""
    for error in (Interrupt, partial(TimeoutError, "from a handler")):
        for after in (False, True):

            def raise_it(error: Callable[[], BaseException] = error) -> None:
                raise error()

            _each(build, lambda world, number, a=after, r=raise_it: world.files.strike(number, r, a))  # type: ignore[misc]


def check_calls_within_calls(build: Build) -> None:
    """A signal handler logs in the middle of an operation; it may fail, and be interrupted by another one."""
    for after in (False, True):

        def log_inside(world: World, number: int, after: bool = after) -> None:
            world.files.strike(number, partial(world.metrics, {"inside": 1.0}), after)

        def fail_inside(world: World, number: int, after: bool = after) -> None:
            def handler() -> None:
                world.files.fail(world.files.count, errno.ENOSPC, 3)
                world.raising({"inside": 1.0})

            world.files.strike(number, handler, after)

        for arm in (log_inside, fail_inside):
            _each(build, arm)


def check_three_depths(build: Build) -> None:
    """A call is interrupted by one that is interrupted by one, again and again."""
    with World(build, segment_bytes=300) as world:
        within = partial(world.metrics, {"within": 3.0})

        def inside() -> None:
            world.files.strike(world.files.count, within)
            world.metrics({"inside": 2.0})

        for _ in range(10):
            world.files.strike(world.files.count, inside)
            world.metrics({"loss": 1.0})
            world.deliver()
        world.check()


def check_flipped_bits(build: Build, step: int = 1) -> None:
    """A bit is flipped, anywhere: it is reported, and takes its record with it and no other."""
    with World(build) as world:
        _play(world)
        sizes = {name.name: world.size(name) for name in world.segments()}
    for segment, size in sizes.items():
        for byte in range(0, size, step):
            with World(build) as world:
                _play(world)
                name = next(name for name in world.segments() if name.name == segment)
                world.flip(name, byte * 8 + byte % 8)
                _checked(world, f"with bit {byte % 8} of byte {byte} of {segment} flipped")


def check_cut_tails(build: Build) -> None:
    """A segment that nobody writes loses its end: what is before that is read."""
    with World(build) as world:
        _play(world)
        world.reboot()
        sizes = {name.name: world.size(name) for name in world.segments()}
    for segment, size in sizes.items():
        for left in range(0, size, 7):
            with World(build) as world:
                _play(world)
                world.reboot()
                world.cut(next(name for name in world.segments() if name.name == segment), left)
                _checked(world, f"with {segment} cut to {left} bytes")


def check_old_segments(build: Build) -> None:
    """A process logs for months: times no longer fit the segment, at whatever call that is."""
    for first in range(1, 12):
        with World(build, segment_bytes=1 << 20) as world:
            for number, step in enumerate(log_a_bit(world)):
                if number % first == 0:
                    world.clock.now_ms += 30 * DAY_MS
                step()
            for count in range(8):
                world.metrics({f"new {count}": 1.0, "x": 0.0})
                world.metrics({"loss": 0.0, "acc": 0.5})
                world.metrics({f"new {count}": 2.0, "x": 1.0})
                world.metrics(WIDE)
            _checked(world, f"with a month after every {first}. call")


def check_names_after_months(build: Build) -> None:
    """A set of names is the first thing that is logged after months: its number is one of the new segment."""
    for before in range(5):
        with World(build, segment_bytes=1 << 20) as world:
            for number in range(before):
                world.metrics({f"before {number}": 1.0})
            world.clock.now_ms += 30 * DAY_MS
            for _ in range(2):
                for number in range(6):
                    world.metrics({f"after {number}": 1.0})
            world.check()


def check_ends_of_segments(build: Build) -> None:
    """Whatever is left of a segment, names and what needs them come into the same one."""
    for fill in range(0, 400, 3):
        with World(build, segment_bytes=500) as world:
            world.entry(Kind.ENTITIES, {"p": [["a", "x" * fill]]})
            world.metrics({"a name": 1.0, "another": 2.0}, time_ms=-1)
            world.metrics({"a name": 1.0, "another": 2.0}, time_ms=1 << 60)
            world.metrics({"third": 3.0})
            _checked(world, f"after {fill} bytes")
    for count in range(1, 60):
        with World(build, segment_bytes=500) as world:
            for _ in range(3):
                world.metrics({f"name {number}": 1.0 for number in range(count)}, time_ms=-1)
            _checked(world, f"with {count} names")


def check_many_names(build: Build) -> None:
    """Sets of names that are larger than what a reader reads at once."""
    with World(build, segment_bytes=1 << 20, chunk_bytes=64) as world:
        for count in (1, 100, 1000):
            world.metrics({f"parameter {number}": float(number) for number in range(count)})
            world.metrics({f"parameter {number}": -float(number) for number in range(count)})
        world.check()


def check_too_large(build: Build) -> None:
    """What is larger than a reader believes is refused, and not written."""
    with mock.patch("holdfast.journal.codec.MAX_PAYLOAD", 1000), World(build, segment_bytes=1 << 20) as world:
        world.entry(Kind.ENTITIES, {"p": [["a", "x" * 1100]]})
        world.metrics({f"name {number}": 1.0 for number in range(200)})
        world.metrics({"loss": 1.0})
        assert [call.fate for call in world.calls] == [NEVER, NEVER, SURE]
        world.check()


def check_checkpoints(build: Build) -> None:
    """A checkpoint is the earlier one or the new one at any time, and durable when it is saved."""
    earlier, later = (Checkpoint({"a": size}, ("b",), last_ms=size) for size in (100, 2_000_000))
    for number in range(20):
        for power_cut, seed in ((False, 0), (True, 0), (True, 1), (True, 2), (True, 3)):
            with World(build) as world:
                path = world.run.checkpoint
                world.files.make_folder(world.run.folder)
                world.files.sync_folder(world.run.folder.parent)
                build.save_checkpoint(world.files, path, earlier)
                world.files.crash(world.files.count + number)
                is_saved = world.attempt(partial(build.save_checkpoint, world.files, path, later))
                world.files.reboot(power_cut, seeded(seed))
                found = build.load_checkpoint(world.files, path)
                assert found == later or (found == earlier and not is_saved), f"{found} after operation {number}"


def check_flipped_checkpoints(build: Build) -> None:
    """A checkpoint with a flipped bit says nothing, or what it said; never that more is delivered."""
    saved = Checkpoint({"a": 16, "b": 1234}, ("c",), owners=("p",), status="RUNNING", last_ms=5)
    with World(build) as world:
        path = world.run.checkpoint
        world.files.make_folder(world.run.folder)
        build.save_checkpoint(world.files, path, saved)
        for bit in range(8 * len(world.files.content(path))):
            world.files.flip(path, bit)
            try:
                found = build.load_checkpoint(world.files, path)
                assert found in (saved, Checkpoint()), f"with bit {bit} flipped: {found}"
            except JournalError:
                pass  # a later release's, by its number
            world.files.flip(path, bit)


def check_deletions(build: Build) -> None:
    """A segment that is deleted is noted as such, whenever the deliverer is killed or the power fails."""
    for number in range(60):
        for power_cut, seed in ((False, 0), (True, 0), (True, 1), (True, 2)):
            with World(build) as world:
                for _ in range(6):
                    world.metrics(WIDE)
                world.sync()
                there = {name.name for name in world.segments()}
                world.files.crash(world.files.count + number)
                world.attempt(world.deliver)
                world.files.reboot(power_cut, seeded(seed))
                gone = set(build.load_checkpoint(world.files, world.run.checkpoint).gone)
                missing = there - {name.name for name in world.segments()}
                assert missing <= gone, f"after operation {number}: {missing - gone} are missing"


def check_two_deliverers(build: Build) -> None:
    """Another deliverer comes while one is at work: what was logged last is delivered last."""
    with TemporaryDirectory() as folder, World(build) as world:
        path = Path(folder) / "lock"
        arrived: list[int] = []
        take = world.store.take

        def deliver(depth: int = 0) -> None:
            def taking(item: Any) -> None:
                if depth == 0 and not arrived:
                    world.metrics({"loss": 2.0})
                    deliver(1)
                arrived.append(item.step)
                take(item)

            with build.lock(path) as lock:
                if lock.acquire():
                    world.store.take = taking  # type: ignore[method-assign]
                    world.deliver()

        world.metrics({"loss": 1.0})
        deliver()
        world.store.take = take  # type: ignore[method-assign]
        world.check()
        assert arrived == sorted(arrived), f"delivered out of order: {arrived}"


CHECKS: dict[str, Callable[[Build], None]] = {
    check.__name__.removeprefix("check_"): check
    for check in (
        check_without_faults,
        check_failures,
        check_short_writes,
        check_kills,
        check_power_cuts,
        check_interrupts,
        check_calls_within_calls,
        check_three_depths,
        check_flipped_bits,
        check_cut_tails,
        check_old_segments,
        check_names_after_months,
        check_ends_of_segments,
        check_many_names,
        check_too_large,
        check_checkpoints,
        check_flipped_checkpoints,
        check_deletions,
        check_two_deliverers,
    )
}
