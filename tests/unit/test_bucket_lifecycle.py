"""Lifecycle rules: read as people do, and merged so that nobody else's are lost and no file in use is touched."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.bucket.arns import Place
from holdfast.bucket.in_use import split
from holdfast.bucket.lifecycle import is_used, read_rule, read_rules, warnings_of
from holdfast.bucket.lifecycle_plan import Wish, is_same_rules, parse_moves, plan_rules
from holdfast.errors import InvalidInputError

MOVES = (("STANDARD_IA", 30), ("GLACIER_IR", 90))


def rule(prefix: str | None = "", status: str = "Enabled", **more: Any) -> dict[str, Any]:
    where = {} if prefix is None else {"Filter": {"Prefix": prefix}}
    return {"ID": "theirs", "Status": status, **where, **more}


ABORT: dict[str, Any] = {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 5}}
OLD: dict[str, Any] = {"NoncurrentVersionExpiration": {"NoncurrentDays": 20}}


@pytest.mark.parametrize(
    ("raw", "scope", "actions"),
    [
        (rule("a/", Expiration={"Days": 1}), "objects that begin with a/", ["deletes objects after 1 day"]),
        (rule(None, Prefix="a/", **ABORT), "objects that begin with a/", ["aborts unfinished uploads after 5 days"]),
        (rule(None, Filter={}, **OLD), "all objects", ["deletes old versions 20 days after they were replaced"]),
        (
            rule(Expiration={"Date": "2031-02-03T00:00:00Z"}, Transitions=[{"Days": 0, "StorageClass": "GLACIER"}]),
            "all objects",
            ["deletes objects on 2031-02-03", "moves objects to GLACIER after 0 days"],
        ),
        (
            rule(
                None,
                Filter={
                    "And": {"Prefix": "a/", "Tags": [{"Key": "k", "Value": "v"}], "ObjectSizeGreaterThan": 1048576}
                },
                NoncurrentVersionExpiration={"NoncurrentDays": 2, "NewerNoncurrentVersions": 3},
                NoncurrentVersionTransitions=[{"NoncurrentDays": 1, "StorageClass": "GLACIER_IR"}],
            ),
            "objects that begin with a/ tagged k=v, larger than 1,048,576 bytes",
            [
                "deletes old versions but the newest 3 2 days after they were replaced",
                "moves old versions to GLACIER_IR after 1 day",
            ],
        ),
        (rule(Expiration={"ExpiredObjectDeleteMarker": True}), "all objects", ["deletes markers of deleted objects"]),
    ],
)
def test_a_rule_as_people_read_it(raw: dict[str, Any], scope: str, actions: list[str]) -> None:
    found = read_rule(raw)
    assert (found.scope, found.actions) == (scope, actions)


@pytest.mark.parametrize(
    ("raw", "covers", "touches"),
    [
        (rule(""), True, True),
        (rule("team"), True, True),
        (rule("team/"), True, True),
        (rule("team/exp/"), False, True),
        (rule("tea/"), False, False),
        (rule("teams/"), False, False),
        (rule("", "Disabled"), False, False),
        (rule(None, Filter={"Tag": {"Key": "k", "Value": "v"}}), False, True),
        (rule(None, Filter={"ObjectSizeLessThan": 5}), False, True),
        (rule(None, Filter={"And": {"Prefix": "other/", "ObjectSizeLessThan": 5}}), False, False),
    ],
)
def test_which_rules_are_about_a_folder(raw: dict[str, Any], covers: bool, touches: bool) -> None:
    found = read_rule(raw)
    assert (found.covers("team/"), found.touches("team/")) == (covers, touches)


def test_what_is_amiss() -> None:
    dangerous = [
        rule("te", Expiration={"Days": 90}),
        rule("", Transitions=[{"Days": 90, "StorageClass": "DEEP_ARCHIVE"}]),
        rule("other/", Expiration={"Days": 1}),
    ]
    found = warnings_of(read_rules(dangerous), "team/", is_versioned=True)
    assert len(found) == 4
    assert "registered models too" in found[0]
    assert "DEEP_ARCHIVE" in found[1]
    assert "unfinished uploads" in found[2]
    assert "old versions" in found[3]
    right = plan_rules([], Wish("team/")).rules
    assert not warnings_of(read_rules(right), "team/", is_versioned=True)
    assert len(warnings_of([], "team/", is_versioned=False)) == 1


def test_what_a_project_needs_is_added_once() -> None:
    first = plan_rules([rule("other/", **ABORT)], Wish("team/"))
    assert [item["ID"] for item in first.rules] == [
        *("theirs", "holdfast-abort-uploads:team/", "holdfast-old-versions:team/")
    ]
    assert len(first.changes) == 2
    again = plan_rules(first.rules, Wish("team/"))
    assert (again.changes, again.rules) == ((), first.rules)
    # A second project in the same bucket, and a change of the first one's days.
    second = plan_rules(first.rules, Wish("other-team/"))
    assert len(second.rules) == 5
    third = plan_rules(second.rules, Wish("team/", abort_days=3, keep_versions=2))
    assert [text.split()[0] for text in third.changes] == ["change", "change"]
    assert len(third.rules) == 5


def test_projects_leave_each_others_rules_alone() -> None:
    first = plan_rules([], Wish("team/", moves=MOVES, unused=("team/a/",))).rules
    second = plan_rules(first, Wish("other/", moves=MOVES, unused=("other/a/",))).rules
    assert second[:3] == first
    third = plan_rules(second, Wish("team/", moves=MOVES, unused=("team/b/",)))
    assert [text.split()[0] for text in third.changes] == ["add", "remove"]
    assert {read_rule(item).prefix for item in third.rules if "Transitions" in item} == {"other/a/", "team/b/"}


def test_what_somebody_else_sees_to_is_not_done_twice() -> None:
    there = [rule("", **ABORT, **OLD)]
    assert plan_rules(there, Wish("team/")).changes == ()
    assert len(plan_rules(there, Wish("team/", abort_days=3)).changes) == 1
    disabled = [rule("", "Disabled", **ABORT, **OLD)]
    assert len(plan_rules(disabled, Wish("team/")).changes) == 2


def test_who_has_chosen_days_keeps_them() -> None:
    chosen = plan_rules([], Wish("team/", abort_days=2, noncurrent_days=99, keep_versions=5)).rules
    assert plan_rules(chosen, Wish("team/").kept_where_chosen(chosen)).changes == ()
    theirs = [rule("", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 50})]
    assert len(plan_rules(theirs, Wish("team/").kept_where_chosen(theirs)).changes) == 1


def test_rules_of_the_older_form_are_written_in_the_newer_one() -> None:
    old = [rule(None, Prefix="x/", Expiration={"Days": 3})]
    made = plan_rules(old, Wish("team/")).rules[0]
    assert made == rule("x/", Expiration={"Days": 3})
    assert is_same_rules(old, [made])


def test_files_of_experiments_move_and_those_of_registered_versions_do_not() -> None:
    place = Place("b", "team")
    locations = [
        *("s3://b/team/a", "s3://b/team/ab", "s3://b/team/used", "s3://b/team/outer", "s3://b/team/outer/inner"),
        *("s3://b/elsewhere/x", "s3://other/team/a", "mlflow-artifacts:/1", "/local/team/a", "s3://b/team"),
    ]
    sources = [
        *("s3://b/team/used/run/artifacts/model", "s3://b/team/outer/inner/models/m-1/artifacts"),
        *("s3://other/team/a/run/model", "/local/team/ab/model"),
    ]
    use = split(place, locations, sources)
    assert use.unused == ("team/a/", "team/ab/")
    assert use.in_use == ("team/outer/inner/models/m-1/artifacts", "team/used/run/artifacts/model")
    plan = plan_rules([], Wish(place.folder, moves=MOVES, unused=use.unused, in_use=use.in_use))
    assert {read_rule(item).prefix for item in plan.rules if "Transitions" in item} == {"team/a/", "team/ab/"}
    assert split(place, locations, ["s3://b"]).unused == split(place, locations, ["s3://b/team"]).unused == ()
    assert split(place, locations, ["s3://b/team/outer"]).unused == ("team/a/", "team/ab/", "team/used/")
    # One of them is registered later on: the rule that moves it goes, asked for or not.
    later = split(place, locations, [*sources, "s3://b/team/a/run/artifacts/model"])
    after = plan_rules(plan.rules, Wish(place.folder, unused=later.unused, in_use=later.in_use))
    assert [text.split()[0] for text in after.changes] == ["remove"]
    assert {read_rule(item).prefix for item in after.rules if "Transitions" in item} == {"team/ab/"}


@pytest.mark.parametrize(
    ("text", "moves"),
    [
        ("", ()),
        ("STANDARD_IA:30", (("STANDARD_IA", 30),)),
        (" GLACIER_IR:90 , STANDARD_IA:30 ", MOVES),
        ("GLACIER_IR:0", (("GLACIER_IR", 0),)),
    ],
)
def test_moves_as_they_are_written(text: str, moves: tuple[tuple[str, int], ...]) -> None:
    assert parse_moves(text) == moves


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("GLACIER:90", "restored"),
        ("DEEP_ARCHIVE:180", "restored"),
        ("STANDARD_IA:10", "before 30 days"),
        ("STANDARD_IA:30,GLACIER_IR:40", "before 60 days"),
        ("STANDARD_IA:90,GLACIER_IR:30", "nearer to farther"),
        ("STANDARD_IA:30,STANDARD_IA:60", "nearer to farther"),
        ("STANDARD:30", "names no move"),
        ("STANDARD_IA", "names no move"),
        ("STANDARD_IA:-1", "names no move"),
    ],
)
def test_moves_that_are_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        parse_moves(text)
    if said == "restored":
        assert parse_moves(text, allow_archive=True)


@pytest.mark.parametrize(
    "wish",
    [
        Wish("a/", 0),
        Wish("a/", 1, 0),
        Wish("a/", 99_999_999_999),
        Wish("a/", 1, 36_501),
        Wish("a/", keep_versions=101),
        Wish("a/", moves=(("GLACIER_IR", 99_999),)),
    ],
)
def test_days_that_are_refused(wish: Wish) -> None:
    with pytest.raises(InvalidInputError, match="is out of bounds"):
        plan_rules([], wish)


def test_more_rules_than_s3_takes_are_refused() -> None:
    unused = tuple(f"team/{number}/" for number in range(1001))
    with pytest.raises(InvalidInputError, match="1,000"):
        plan_rules([], Wish("team/", moves=MOVES, unused=unused))


# Folders that are often above, below or beside each other.
segments = st.lists(st.sampled_from(["team", "teams", "a", "ab", "b", "größe"]), min_size=1, max_size=3)
folders = segments.map(lambda parts: "/".join(parts) + "/")
days = st.integers(1, 400)
actions = st.one_of(
    st.fixed_dictionaries({"Expiration": st.fixed_dictionaries({"Days": days})}),
    st.fixed_dictionaries({"AbortIncompleteMultipartUpload": st.fixed_dictionaries({"DaysAfterInitiation": days})}),
    st.fixed_dictionaries({"NoncurrentVersionExpiration": st.fixed_dictionaries({"NoncurrentDays": days})}),
    st.just({"Transitions": [{"Days": 90, "StorageClass": "GLACIER"}]}),
)
filters: st.SearchStrategy[dict[str, Any]] = st.one_of(
    folders.map(lambda folder: {"Filter": {"Prefix": folder}}),
    folders.map(lambda folder: {"Prefix": folder}),
    folders.map(lambda folder: {"Filter": {"And": {"Prefix": folder, "Tags": [{"Key": "k", "Value": "v"}]}}}),
    st.just({"Filter": {}}),
)
foreign = st.lists(
    st.builds(
        lambda number, status, where, action: {"ID": f"theirs-{number}", "Status": status, **where, **action},
        st.integers(0, 10**6),
        st.sampled_from(["Enabled", "Disabled"]),
        filters,
        actions,
    ),
    max_size=5,
    unique_by=lambda item: str(item["ID"]),
)


@given(
    there=foreign,
    root=folders,
    experiments=st.lists(folders, max_size=5),
    registered=st.lists(folders, max_size=3),
    later=st.lists(folders, max_size=2),
    moves=st.sampled_from([(), MOVES]),
    after=days,
)
def test_nobody_elses_rule_is_lost_and_nothing_in_use_is_touched(
    there: list[dict[str, Any]],
    root: str,
    experiments: list[str],
    registered: list[str],
    later: list[str],
    moves: tuple[tuple[str, int], ...],
    after: int,
) -> None:
    place = Place("b", root.rstrip("/"))
    rules: tuple[Any, ...] = tuple(there)
    for sources in (registered, registered + later):
        use = split(place, [f"s3://b/{item}" for item in experiments], [f"s3://b/{item}model" for item in sources])
        wish = Wish(place.folder, after, after, 0, moves, use.unused, use.in_use)
        plan = plan_rules(rules, wish)
        theirs = [item for item in plan.rules if str(item["ID"]).startswith("theirs-")]
        mine = read_rules([item for item in plan.rules if item not in theirs])
        assert is_same_rules(theirs, there)
        assert [item["ID"] for item in theirs] == [item["ID"] for item in there]
        assert len({item["ID"] for item in plan.rules}) == len(plan.rules)
        assert not any(item.expires for item in mine)
        assert all(item.prefix.startswith(place.folder) for item in mine)
        assert not any(item.moves and is_used(item.prefix, use.in_use) for item in mine)
        for wanted in ("abort_days", "noncurrent_days"):
            found = [getattr(item, wanted) for item in read_rules(plan.rules) if item.covers(place.folder)]
            assert min(days for days in found if days is not None) <= after
        again = plan_rules(plan.rules, wish)
        assert (again.changes, again.rules) == ((), plan.rules)
        rules = plan.rules
