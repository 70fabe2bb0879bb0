"""Random histories of a journal: two processes that log, a deliverer, and everything that can go wrong."""

from __future__ import annotations

import errno
from functools import partial
from random import Random

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from journal_world import Build, Interrupt, World, seeded

from holdfast.journal.codec import Kind

# A few sets that come again and again, and a new one now and then.
_KEYS = st.one_of(
    st.sampled_from([("loss",), ("loss", "acc"), ("train/loss", "lr", "größe 大")]),
    st.lists(st.text("abcäß大0/_ .-:", min_size=1, max_size=8), min_size=1, max_size=4, unique=True).map(tuple),
    st.integers(20, 60).map(lambda count: tuple(f"layer {number}" for number in range(count))),
)
_VALUES = st.floats(width=64)
_TIMES = st.one_of(st.none(), st.sampled_from([0, -1, 1, (1 << 62), -(1 << 62), 1_760_000_000_000]))
_TEXT = st.text(max_size=40)
_PAIRS = st.lists(st.tuples(_TEXT, _TEXT).map(list), max_size=3)
_SLOTS = st.integers(0, 1)
_SOON = st.integers(0, 12)
_CODES = st.sampled_from([errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])


class JournalMachine(RuleBasedStateMachine):
    """See the module."""

    build = Build()

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.build, segment_bytes=600, chunk_bytes=256)

    def teardown(self) -> None:
        try:
            self.world.check()
        finally:
            self.world.close()

    # -- logging ----------------------------------------------------------------------

    @rule(keys=_KEYS, data=st.data(), slot=_SLOTS, time_ms=_TIMES)
    def log_metrics(self, keys: tuple[str, ...], data: st.DataObject, slot: int, time_ms: int | None) -> None:
        value = data.draw(_VALUES)
        values = {key: value + index for index, key in enumerate(keys)}
        try:
            self.world.attempt(partial(self.world.metrics, values, slot, time_ms))
        except ValueError:  # a name that is no name for a metric; nothing is logged
            return

    @rule(params=_PAIRS, tags=_PAIRS, slot=_SLOTS)
    def log_params_and_tags(self, params: list[list[str]], tags: list[list[str]], slot: int) -> None:
        content = {"m": [], "p": params, "t": tags}
        self.world.attempt(partial(self.world.entry, Kind.ENTITIES, content, slot))

    @rule(kind=st.sampled_from([Kind.UPDATE, Kind.INPUTS, Kind.OWNED, Kind.LEFT]), text=_TEXT, slot=_SLOTS)
    def log_something_else(self, kind: Kind, text: str, slot: int) -> None:
        self.world.attempt(partial(self.world.entry, kind, {"name": text}, slot))

    @rule()
    def sync(self) -> None:
        self.world.attempt(self.world.sync)

    @rule()
    def deliver(self) -> None:
        self.world.attempt(self.world.deliver)

    @rule(days=st.integers(-40, 40))
    def wait(self, days: int) -> None:
        self.world.clock.now_ms += days * 86_400_000

    # -- what goes wrong soon ---------------------------------------------------------

    @rule(soon=_SOON, code=_CODES, count=st.integers(1, 3))
    def fail(self, soon: int, code: int, count: int) -> None:
        self.world.files.fail(self.world.files.count + soon, code, count)

    @rule(soon=_SOON, taken=st.integers(0, 60), code=st.one_of(st.none(), _CODES))
    def write_short(self, soon: int, taken: int, code: int | None) -> None:
        self.world.files.shorten(self.world.files.count + soon, taken, code)

    @rule(soon=_SOON, taken=st.one_of(st.none(), st.integers(0, 60)))
    def crash(self, soon: int, taken: int | None) -> None:
        self.world.files.crash(self.world.files.count + soon, taken)

    @rule(soon=_SOON, after=st.booleans())
    def interrupt(self, soon: int, after: bool) -> None:
        def handler() -> None:
            raise Interrupt

        self.world.files.strike(self.world.files.count + soon, handler, after)

    @rule(soon=_SOON, after=st.booleans(), slot=_SLOTS)
    def log_inside(self, soon: int, after: bool, slot: int) -> None:
        inside = partial(self.world.raising, {"inside": 1.0}, slot)
        self.world.files.strike(self.world.files.count + soon, inside, after)

    # -- what goes wrong now ----------------------------------------------------------

    @rule(slot=_SLOTS)
    def kill(self, slot: int) -> None:
        self.world.kill(slot)

    @rule(seed=st.integers(0, 1 << 16))
    def cut_power(self, seed: int) -> None:
        if not self.world.flipped:  # what lies where is not known then
            self.world.reboot(power_cut=True, random=seeded(seed))

    @precondition(lambda self: self.world.segments())
    @rule(seed=st.integers(0, 1 << 16))
    def flip_a_bit(self, seed: int) -> None:
        random = Random(seed)  # noqa: S311
        name = random.choice(self.world.segments())
        size = self.world.size(name)
        if name.name not in self.world.flipped and size:
            self.world.flip(name, random.randrange(size * 8))

    @precondition(lambda self: self.world.segments())
    @rule(seed=st.integers(0, 1 << 16))
    def cut_a_tail(self, seed: int) -> None:
        random = Random(seed)  # noqa: S311
        name = random.choice(self.world.segments())
        living = {journal._name for journal in self.world.journals}
        size = self.world.size(name)
        if name.process not in living and name.name not in self.world.flipped and size:
            self.world.cut(name, random.randrange(size))


def bounded(examples: int, steps: int, shrinks: bool = True) -> settings:
    """Return settings that try the same histories each time."""
    phases = [Phase.generate, Phase.shrink] if shrinks else [Phase.generate]
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
