"""The chain of events, and what is folded from it: whatever is done to a history is found."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.history import (
    MAX_EVENT_LENGTH,
    Actor,
    Draft,
    Event,
    GateRecord,
    Kind,
    broken_links,
    make_event,
    read_event,
)
from holdfast.core.ledger import Ledger, as_ranges, fold, from_ranges, is_same_person
from holdfast.core.stages import Stage
from holdfast.errors import HistoryError, InvalidInputError
from holdfast.registry.history.export import CSV_COLUMNS, parse_kind, parse_since, select, to_csv

# Few examples, since each is a whole history; what is drawn is small and odd: blanks, quotes, formulas, emoji.
FEW = settings(max_examples=30)
WORDS = st.sampled_from(["", "a", "=1+1", "é\r", "\n\t", '"', "\U0001f600\ud800", "x" * 700])
STAGES = st.sampled_from(list(Stage))
VERSIONS = st.integers(1, 5)
ACTORS = st.builds(Actor, name=st.sampled_from(["ada", "Bob", " bob", "=x"]), host=WORDS, git=WORDS)
GATES = st.lists(st.builds(GateRecord, check=WORDS, passed=st.booleans(), reason=WORDS), max_size=2)
DETAILS = st.dictionaries(st.sampled_from(["override", "alias", "key", "value"]), WORDS, max_size=3)


@st.composite
def drafts(draw: st.DrawFn) -> Draft:
    return Draft(
        kind=draw(st.sampled_from([kind for kind in Kind if kind is not Kind.ADOPTED])),
        actor=draw(ACTORS),
        version=draw(VERSIONS),
        reason=draw(WORDS),
        from_stage=draw(st.none() | STAGES),
        to_stage=draw(STAGES),
        archived=tuple(draw(st.lists(VERSIONS, max_size=3, unique=True))),
        checksum=draw(st.sampled_from(["", "sha256:aa", "sha256:bb"])),
        gates=tuple(draw(GATES)),
        details=draw(DETAILS),
    )


def chain(found: list[Draft], model: str = "m") -> list[Event]:
    events: list[Event] = []
    for draft in found:
        events.append(make_event(draft, model, events[-1] if events else None))
    return events


def texts_of(found: list[Draft]) -> list[str]:
    return [event.to_json() for event in chain(found)]


HISTORIES = st.lists(drafts(), min_size=1, max_size=5)


@FEW
@given(HISTORIES)
def test_a_history_is_read_as_it_was_written_and_is_whole(found: list[Draft]) -> None:
    events = chain(found)
    assert [read_event(event.to_json()) for event in events] == events
    assert broken_links([event.to_json() for event in events], "m") == []


def _edited(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, list):
        return value[:-1] if value else ["x"]
    return {**value, "x": "y"}


@FEW
@given(HISTORIES, st.data())
def test_any_edit_of_any_field_is_found(found: list[Draft], data: st.DataObject) -> None:
    texts = texts_of(found)
    place = data.draw(st.integers(0, len(texts) - 1))
    fields = json.loads(texts[place])
    key = data.draw(st.sampled_from(sorted(fields)))
    for edited in ({**fields, key: _edited(fields[key])}, {k: v for k, v in fields.items() if k != key}):
        texts[place] = json.dumps(edited, sort_keys=True, separators=(",", ":"))
        assert any(f"event {place + 1} " in said for said in broken_links(texts)), key
    texts[place] = json.dumps({**fields, "new": 1}, sort_keys=True, separators=(",", ":"))
    assert broken_links(texts)
    texts[place] = json.dumps(fields, sort_keys=True)  # the same fields, written otherwise
    assert broken_links(texts)


@FEW
@given(HISTORIES, st.data())
def test_an_edit_with_its_hash_made_anew_breaks_the_next_link(found: list[Draft], data: st.DataObject) -> None:
    events = chain([*found, found[0]])
    place = data.draw(st.integers(0, len(events) - 2))
    before = events[place - 1] if place else None
    forged = make_event(Draft(Kind.MOVED, Actor("mallory"), version=9, to_stage=Stage.PRODUCTION), "m", before)
    texts = [event.to_json() for event in events]
    texts[place] = forged.to_json()
    assert broken_links(texts) == [f"event {place + 2} does not follow the one before: its link names another"]


@FEW
@given(st.lists(drafts(), min_size=2, max_size=5), st.data())
def test_whatever_is_taken_out_swapped_or_put_in_is_found(found: list[Draft], data: st.DataObject) -> None:
    texts = texts_of(found)
    place = data.draw(st.integers(0, len(texts) - 2))  # without its last event a chain is whole: the copies tell
    assert broken_links(texts[:place] + texts[place + 1 :])
    other = data.draw(st.integers(place + 1, len(texts) - 1))
    swapped = list(texts)
    swapped[place], swapped[other] = swapped[other], swapped[place]
    assert broken_links(swapped)
    assert broken_links([*texts[: place + 1], texts[place], *texts[place + 1 :]])
    stranger = make_event(found[0], "m", None).to_json()
    assert broken_links([*texts, stranger])
    assert broken_links(texts, "another")


@FEW
@given(st.lists(drafts(), max_size=15))
def test_at_most_one_version_is_in_staging_and_one_in_production(found: list[Draft]) -> None:
    ledger = fold(chain(found))
    for stage in (Stage.STAGING, Stage.PRODUCTION):
        inside = [number for number, record in ledger.versions.items() if record.stage is stage]
        assert len(inside) <= 1
        assert ledger.holder(stage) == (inside[0] if inside else None)
    present = ledger.holder(Stage.PRODUCTION)
    assert present is None or ledger.trail[-1] == present
    assert ledger.rollback_target != present or present is None


@FEW
@given(st.lists(drafts(), max_size=12))
def test_nobody_approves_a_request_of_their_own(found: list[Draft]) -> None:
    for record in fold(chain(found)).versions.values():
        for request in record.requests.values():
            assert not any(is_same_person(name, request.by.name) for name in request.approvals)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Ada  Lovelace", "ada lovelace", True),
        ("ada", "\u0430d\u0430", True),  # Cyrillic
        ("NINA", "\u039dI\u039dA", True),  # Greek
        ("\u039d\u03af\u03ba\u03bf\u03c2", "\u03bd\u03af\u03ba\u03bf\u03c2", True),  # one Greek name, capital and small
        ("ada", "eda", False),
        ("\u0438\u0440\u0430", "\u0438\u0434\u0430", False),
    ],
)
def test_who_is_the_same_person(one: str, other: str, same: bool) -> None:
    assert is_same_person(one, other) is same
    assert is_same_person(other, one) is same


@FEW
@given(st.sets(st.integers(1, 300), max_size=80))
def test_numbers_as_ranges(numbers: set[int]) -> None:
    assert from_ranges(as_ranges(numbers)) == sorted(numbers)


def ledger_of(*found: Draft) -> Ledger:
    return fold(chain(list(found)))


def draft(kind: Kind, name: str, version: int = 1, **fields: Any) -> Draft:
    return Draft(kind, Actor(name), version=version, **fields)


def test_one_person_counts_once_however_the_name_is_spelt() -> None:
    asked = draft(Kind.REQUESTED, "ada", to_stage=Stage.PRODUCTION, checksum="c")
    said = [draft(Kind.APPROVED, name, to_stage=Stage.PRODUCTION, checksum="c") for name in ("Bob", " bob ", "BOB")]
    own = draft(Kind.APPROVED, "Ada", to_stage=Stage.PRODUCTION, checksum="c")
    request = ledger_of(asked, *said, own).version(1).requests[Stage.PRODUCTION]
    assert request.approved("c") == ["Bob"]
    assert request.approved("d") == []
    again = ledger_of(asked, *said, asked).version(1).requests[Stage.PRODUCTION]
    assert again.approvals == {}  # asking again begins anew
    assert ledger_of(asked, draft(Kind.REJECTED, "bob", to_stage=Stage.PRODUCTION)).version(1).requests == {}


def test_what_is_too_long_is_shortened_or_refused() -> None:
    gates = tuple(GateRecord(f"gate {n}", False, "r" * 2000) for n in range(10))
    event = make_event(Draft(Kind.MOVED, Actor("ada"), version=1, to_stage=Stage.STAGING, gates=gates), "m", None)
    assert len(event.to_json()) <= MAX_EVENT_LENGTH
    assert [gate.check for gate in event.draft.gates] == [gate.check for gate in gates]
    with pytest.raises(InvalidInputError, match="1001 characters"):
        make_event(draft(Kind.MOVED, "ada", reason="x" * 1001), "m", None)
    with pytest.raises(InvalidInputError, match="too long"):
        make_event(draft(Kind.TAGGED, "ada", details={"value": "é" * 2000}), "m", None)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"kind": "moved"}', "[" * 100_000])
def test_what_is_no_event_is_said_to_be_none(text: str) -> None:
    with pytest.raises(HistoryError):
        read_event(text)
    assert broken_links([text]) == ["event 1 cannot be read"]


def test_csv_is_safe_for_spreadsheets_and_keeps_its_columns() -> None:
    events = chain(
        [
            draft(Kind.MOVED, "=cmd|' /C calc'!A0", reason="+1, or\nmore", to_stage=Stage.STAGING, archived=(2, 3)),
            draft(Kind.ROLLED_BACK, "bob", reason='"quoted"', details={"override": "@SUM(1)", "z": 1}),
        ]
    )
    rows = list(csv.DictReader(io.StringIO(to_csv(events))))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert rows[0]["who"] == "'=cmd|' /C calc'!A0"
    assert rows[0]["why"] == "'+1, or\nmore"
    assert (rows[0]["archived"], rows[0]["to"]) == ("2 3", "Staging")
    assert (rows[1]["why"], rows[1]["override"], rows[1]["details"]) == ('"quoted"', "'@SUM(1)", '{"z": 1}')
    assert rows[1]["prev"] == rows[0]["hash"]


@FEW
@given(HISTORIES)
def test_no_cell_of_a_csv_begins_a_formula(found: list[Draft]) -> None:
    for row in csv.DictReader(io.StringIO(to_csv(chain(found)))):
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values())


def test_selecting_events() -> None:
    events = chain([draft(Kind.REGISTERED, "ada", n) for n in (1, 2)] + [draft(Kind.MOVED, "ada", 2, archived=(1,))])
    assert [event.number for event in select(events)] == [3, 2, 1]
    assert [event.number for event in select(events, version=1)] == [3, 1]
    assert [event.number for event in select(events, kinds=[Kind.MOVED])] == [3]
    assert [event.number for event in select(events, limit=1)] == [3]
    assert select(events, since=parse_since("2999-01-01")) == []
    assert parse_kind("rolled-back") is parse_kind("Rolled_Back") is Kind.ROLLED_BACK
    with pytest.raises(InvalidInputError, match="no kind of event"):
        parse_kind("promoted")
    with pytest.raises(InvalidInputError, match="no date"):
        parse_since("yesterday")
