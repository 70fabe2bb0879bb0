"""The promotion policy: what its rows mean, and what is said of one that is not valid."""

from __future__ import annotations

import math
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.evidence import BootstrapRule, DriftRule
from holdfast.core.policy import GateRule, PromotionPolicy, parse_policy
from holdfast.core.promotion import Check, PromotionRule, parse_rule
from holdfast.core.stages import Stage
from holdfast.errors import HoldfastError, SettingsError

NONE, STAGING, PRODUCTION, ARCHIVED = Stage

WHOLE = """
min = { "test/auc" = 0.65 }
max = { "test/log_loss" = 0.69 }
not-below-production = { "test/auc" = 0.005, "test/accuracy" = "1%" }
not_above_production = { "test/log_loss" = 0 }
bootstrap = { confidence = 0.9, resamples = 500, seed = 7, evidence = "harm" }
tags = { owner = "", team = "ml", year = 2026 }
description = true
signature = true
input-example = true
artifacts = true
loads = { timeout-s = 60 }
clean_git = true
data = "data/games.csv"
callable = ["checks:fair", "package.module:Class.method"]
drift = { reference = "reference.csv", current = "data/new.csv", columns = ["a"], alpha = 0.05, min-psi = 0.2 }
transitions = { None = ["staging"], STAGING = ["Production", "None"], Production = "Archived" }
approvals = { production = 2, Staging = 0 }
staging = { min = { "test/auc" = 0.5 }, loads = true, tags = ["owner", "owner"] }
"""


def test_every_row_is_read() -> None:
    policy = parse_policy(tomllib.loads(WHOLE))
    rule = policy.production
    assert [str(check) for check in rule.metrics.checks] == [
        "test/auc >= 0.65",
        "test/log_loss <= 0.69",
        "test/auc >= Production's - 0.005",
        "test/accuracy >= Production's - 1%",
        "test/log_loss <= Production's + 0",
    ]
    assert rule.bootstrap == BootstrapRule(0.9, 500, 7, "harm")
    assert rule.tags == {"owner": "", "team": "ml", "year": "2026"}
    assert (rule.description, rule.signature, rule.input_example, rule.artifacts, rule.clean_git) == (True,) * 5
    assert (rule.loads_timeout_s, rule.data) == (60.0, ("data/games.csv",))
    assert rule.callables == ("checks:fair", "package.module:Class.method")
    assert rule.drift == DriftRule("reference.csv", "data/new.csv", ("a",), 0.05, 0.2, 0)
    assert rule.unused_rows == ()
    assert policy.rule_for(PRODUCTION) is rule
    staging = policy.rule_for(STAGING)
    assert (staging.tags, staging.loads_timeout_s, staging.bootstrap) == ({"owner": ""}, 120.0, BootstrapRule())
    assert staging.unused_rows[:2] == ("callable", "description")
    assert policy.transitions == {NONE: (STAGING,), STAGING: (NONE, PRODUCTION), PRODUCTION: (ARCHIVED,)}
    assert [policy.approvers(stage) for stage in Stage] == [0, 0, 2, 0]


def test_nothing_is_asked_by_default() -> None:
    policy = parse_policy({})
    assert policy == PromotionPolicy()
    assert all(policy.rule_for(stage).is_empty for stage in Stage)
    assert all(policy.allows(one, other) for one in Stage for other in Stage)
    assert all(policy.approvers(stage) == 0 for stage in Stage)


def test_false_turns_every_row_off() -> None:
    rows = [line.partition(" ")[0] for line in WHOLE.strip().splitlines()]
    policy = parse_policy(dict.fromkeys(rows, False))
    assert policy == PromotionPolicy(production=GateRule(bootstrap=None))
    assert policy.production.is_empty
    assert parse_policy({"approvals": {"Production": False}}).approvers(PRODUCTION) == 0


@pytest.mark.parametrize("row", ["description", "signature", "input-example", "artifacts", "clean-git", "loads"])
def test_a_rule_with_one_gate_is_not_empty(row: str) -> None:
    rule = parse_policy({row: True}).production
    assert not rule.is_empty
    assert row not in rule.unused_rows


def test_a_rule_about_metrics_is_a_policy() -> None:
    rule = parse_rule({"min": {"auc": 0.5}})
    policy = PromotionPolicy.of_rule(rule)
    assert policy.production.metrics is rule
    assert not policy.production.is_empty
    assert policy.staging.is_empty
    assert policy.allows(NONE, PRODUCTION)


def test_the_presets_of_transitions() -> None:
    steps = parse_policy({"transitions": "step-by-step"})
    assert {stage: set(steps.allowed_from(stage)) for stage in Stage} == {
        NONE: {STAGING},
        STAGING: {PRODUCTION, NONE, ARCHIVED},
        PRODUCTION: {ARCHIVED, STAGING},
        ARCHIVED: {STAGING, NONE},
    }
    assert all(steps.allows(stage, stage) for stage in Stage)
    assert not steps.allows(NONE, PRODUCTION)
    assert parse_policy({"transitions": "any"}).allowed_from(STAGING) == (NONE, PRODUCTION, ARCHIVED)
    own = parse_policy({"transitions": {"None": ["None", "Staging"]}})
    assert own.allowed_from(NONE) == (STAGING,)
    assert own.allowed_from(PRODUCTION) == ()
    assert own.allows(PRODUCTION, PRODUCTION)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"minn": {}}, r"unknown row 'minn' \(did you mean min\?\)"),
        ({"xyz": 1}, r"unknown row 'xyz' \(known: min, .*staging\)"),
        ({"signature": "yes"}, "signature is 'yes'; write true or false"),
        ({"artifacts": 1}, "artifacts is 1; write true or false"),
        ({"clean-git": True, "clean_git": True}, "clean-git is there twice"),
        ({"min": {"auc": "1%"}}, "min of 'auc' is '1%'; a share of Production's value goes into"),
        ({"min": True}, "min must be a table of metric = number, not True"),
        ({"min": {"a$": 1}}, "names no metric: it has a character"),
        ({"not-below-production": {"auc": "-1 %"}}, "'auc' is -1 %; a tolerance is 0 or more"),
        ({"not-below-production": {"auc": "1"}}, "'auc' is '1', not a number and no share"),
        ({"not-below-production": {"auc": f"{'9' * 400}%"}}, "not a number"),
        ({"max": {"loss": 10**400}}, "'loss' is 1000+.*not a number"),
        ({"max": {"loss": math.nan}}, "'loss' is nan, not a number"),
        ({"tags": ["owner", ""]}, "tags holds '', which is no text"),
        ({"tags": {"a": True}}, "tags of 'a' is True; write the value"),
        ({"tags": {"../a": "x"}}, r"tags name '\.\./a', which is not a plain path"),
        ({"tags": 3}, "tags is 3; write a text, or a list"),
        ({"data": [3]}, "data holds 3"),
        ({"data": True}, "data is True"),
        ({"callable": "checks.fair"}, "callable is 'checks.fair'; write package.module:function"),
        ({"callable": ["a:b()", "os;x:y", ":f", "m:"]}, "'a:b.*'os;x:y'.*':f'.*'m:'"),
        ({"loads": {"timeout-s": 0}}, "loads has timeout-s = 0; write a number above 0"),
        ({"loads": {"timeout": 5}}, r"loads has an unknown 'timeout' \(did you mean timeout-s\?\)"),
        ({"loads": 60}, "loads is 60; write true, or { timeout-s = 120 }"),
        ({"bootstrap": {"confidence": 1}}, "bootstrap has confidence = 1; write a number above 0 and below 1"),
        ({"bootstrap": {"resamples": 10**9, "seed": -1}}, "resamples = 1000000000.*seed = -1"),
        ({"bootstrap": {"evidence": "some"}}, 'evidence = \'some\'; write "no-harm" or "harm"'),
        ({"bootstrap": True}, "bootstrap is True; write a table"),
        ({"drift": {"current": "x"}}, "drift has no reference"),
        ({"drift": True}, "drift is True"),
        ({"drift": {"reference": "a", "current": "b", "columns": "c", "max-drifted": 1.5}}, "columns = 'c'.*drifted"),
        ({"transitions": "all"}, 'transitions is \'all\'; write "any", "step-by-step"'),
        (
            {"transitions": {"Stag": ["None"]}},
            "transitions names 'Stag', which is no stage; write one of None, Staging",
        ),
        ({"transitions": {"None": ["Prod", 3]}}, "transitions from None names 'Prod'.*names 3"),
        ({"transitions": {"None": 3}}, "transitions from None is 3; write a list"),
        ({"transitions": {"None": [], "none": []}}, "transitions has None twice"),
        ({"approvals": 2}, r"approvals is 2; write a table such as \{ Production = 2 \}"),
        ({"approvals": {"Production": True, "staging": -1}}, "of Production is True.*of Staging is -1"),
        ({"staging": {"min": {"a": "x"}, "sign": True}}, "'staging.sign'.*staging.min of 'a' is 'x'"),
        ({"staging": {"approvals": {}, "staging": {}}}, "staging.approvals has no meaning there.*staging.staging has"),
        ({"staging": True}, "staging is True; write the gates' rows"),
    ],
)
def test_what_is_said_of_rows_that_are_not_valid(table: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as raised:
        parse_policy(table)
    assert "[tool.holdfast.promotion]" in raised.value.hint


def test_everything_wrong_is_said_at_once() -> None:
    table = {"mim": {}, "signature": 3, "staging": {"loads": 0}, "transitions": "x", "approvals": {"X": 1}}
    with pytest.raises(SettingsError) as raised:
        parse_policy(table)
    assert raised.value.message.count(";") >= 5
    for word in ("'mim'", "signature is 3", "staging.loads is 0", "transitions is 'x'", "approvals names 'X'"):
        assert word in raised.value.message


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_ROWS = st.sampled_from([line.partition(" ")[0] for line in WHOLE.strip().splitlines()]) | st.text(max_size=8)


@given(st.dictionaries(_ROWS, _VALUES, max_size=4))
def test_any_table_is_a_policy_or_said_to_be_none(table: dict[str, object]) -> None:
    try:
        policy: object = parse_policy(table)
    except HoldfastError as error:
        policy = error
    assert isinstance(policy, PromotionPolicy | SettingsError)


# --- comparisons with Production --------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "value", "present", "passed"),
    [
        (Check("not-below-production", "a", 0.01, True), 0.792, 0.8, True),  # exactly 1 % below
        (Check("not-below-production", "a", 0.01, True), 0.7919, 0.8, False),
        (Check("not-below-production", "a", 0.1), 0.7, 0.8, True),  # .8 - .1 is above .7 in binary
        (Check("not-above-production", "a", 0.1), 0.3, 0.2, True),
        (Check("not-above-production", "a", 0.5, True), -1.0, -2.0, True),  # of the size: 1 above -2
        (Check("not-above-production", "a", 0.5, True), -0.9, -2.0, False),
        (Check("not-below-production", "a", 0.5, True), -3.0, -2.0, True),
        (Check("not-below-production", "a", 0.5, True), -3.1, -2.0, False),
        (Check("not-below-production", "a", 0.5, True), -0.1, 0.0, False),  # a share of 0 is 0
        (Check("not-below-production", "a", 0.0), math.inf, 0.0, False),
        (Check("not-above-production", "a", 0.0), 1.0, math.inf, False),
    ],
)
def test_tolerances(check: Check, value: float, present: float, passed: bool) -> None:
    answer = PromotionRule((check,)).evaluate({"a": value}, {"a": present})[0]
    assert (answer.passed, answer.check) == (passed, str(check))


def test_a_metric_without_end_is_no_good_one() -> None:
    answers = parse_rule({"min": {"a": 1}, "max": {"b": 1}}).evaluate({"a": math.inf, "b": -math.inf}, None)
    assert [(answer.passed, answer.reason) for answer in answers] == [
        (False, "a is inf on this version's run"),
        (False, "b is -inf on this version's run"),
    ]
