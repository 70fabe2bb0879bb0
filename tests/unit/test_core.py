"""The pure rules: names, stages, promotion, redaction, errors."""

from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.names import (
    as_version_or_word,
    check_alias,
    check_end_status,
    check_experiment_name,
    check_keys,
    check_model_name,
    check_version,
    why_bad_key,
)
from holdfast.core.promotion import parse_rule
from holdfast.core.redaction import Redactor, names_a_secret
from holdfast.core.stages import Stage, parse_stage
from holdfast.errors import HoldfastError, InvalidInputError, SettingsError


@given(st.text(max_size=40))
def test_a_key_is_accepted_exactly_where_mlflow_accepts_it(key: str) -> None:
    validation = pytest.importorskip("mlflow.utils.validation")
    try:
        validation._validate_metric_name(key)
        validation._validate_length_limit("name", 250, key)
        accepted = bool(key)
    except Exception:
        accepted = False
    # MLflow's own pattern lets one line end through, which its database search then cannot name.
    assert (why_bad_key(key) == "") == (accepted and not key.endswith("\n"))


def test_all_bad_keys_are_named() -> None:
    with pytest.raises(InvalidInputError, match=r"'a\$b'.*''.*'/x'.*3 is a int.*251 characters"):
        check_keys(["ok", "a$b", "", "/x", 3, "y" * 251], "metric")


CONTROL = ["a\nb", "a\tb", "a\x1b[2Jb", "a\x00", "a\x7f", "a\x9b", "a\u2028b", "a\u202eb"]


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b", ".", "..", "../x", None, 3, *CONTROL])
def test_model_names_that_are_refused(name: object) -> None:
    with pytest.raises(InvalidInputError, match="no name for a registered model"):
        check_model_name(name)


@pytest.mark.parametrize("version", [0, -3, "0", "x", 1.5, True, None, ""])
def test_versions_that_are_refused(version: object) -> None:
    with pytest.raises(InvalidInputError, match="no model version"):
        check_version(version)


@pytest.mark.parametrize("wanted", [0, "-1", "+0", True, 3.5, [], None, "", " "])
def test_what_names_no_version(wanted: object) -> None:
    with pytest.raises(InvalidInputError, match="no model version"):
        as_version_or_word(wanted)


def test_what_names_a_version() -> None:
    assert [as_version_or_word(item) for item in (3, " 12 ", " latest", "@champion")] == [3, 12, "latest", "@champion"]


def test_what_is_accepted() -> None:
    assert check_version("12") == 12
    assert check_model_name("my model-1.0") == "my model-1.0"
    assert check_model_name("\u6a21\u578b \U0001f600") == "\u6a21\u578b \U0001f600"
    assert check_alias("champion_1") == "champion_1"
    assert check_end_status("failed") == "FAILED"
    assert check_experiment_name("a/b") == "a/b"


@pytest.mark.parametrize("alias", ["", "latest", "Latest", "v3", "V10", "a b", "a/b", None, "x" * 256])
def test_aliases_that_are_refused(alias: object) -> None:
    with pytest.raises(InvalidInputError, match="no alias"):
        check_alias(alias)


@pytest.mark.parametrize(
    ("given_stage", "stage"),
    [("production", Stage.PRODUCTION), (" Staging ", Stage.STAGING), (None, Stage.NONE), ("NONE", Stage.NONE)],
)
def test_stages_in_any_case(given_stage: str | None, stage: Stage) -> None:
    assert parse_stage(given_stage) is stage


@pytest.mark.parametrize("stage", ["", "prod", 3, "Productoin"])
def test_stages_that_do_not_exist(stage: object) -> None:
    with pytest.raises(InvalidInputError, match="no stage"):
        parse_stage(stage)


def test_only_staging_and_production_hold_one() -> None:
    assert [stage.alias for stage in Stage] == [None, "staging", "production", None]


RULE = {
    "min": {"auc": 0.6},
    "max": {"loss": 0.7},
    "not-below-production": {"auc": 0.01},
    "not_above_production": {"loss": 0.0},
}


@pytest.mark.parametrize(
    ("candidate", "production", "passed"),
    [
        ({"auc": 0.7, "loss": 0.5}, None, [True, True, True, True]),
        ({"auc": 0.7, "loss": 0.5}, {"auc": 0.7, "loss": 0.5}, [True, True, True, True]),
        ({"auc": 0.69, "loss": 0.51}, {"auc": 0.7, "loss": 0.5}, [True, True, True, False]),
        ({"auc": 0.68, "loss": 0.4}, {"auc": 0.7, "loss": 0.5}, [True, True, False, True]),
        ({"auc": 0.5, "loss": 0.9}, None, [False, False, True, True]),
        ({"auc": math.nan}, None, [False, False, False, False]),
        ({}, {}, [False, False, False, False]),
        ({"auc": 0.7, "loss": 0.5}, {"auc": math.nan}, [True, True, False, False]),
    ],
)
def test_rules(candidate: dict[str, float], production: dict[str, float] | None, passed: list[bool]) -> None:
    answers = parse_rule(RULE).evaluate(candidate, production)
    assert [answer.passed for answer in answers] == passed
    assert all(answer.reason for answer in answers)


def test_no_rule_refuses_nothing() -> None:
    assert parse_rule({}).evaluate({}, {"auc": 1.0}) == ()


def test_a_rule_says_all_that_is_wrong_with_it() -> None:
    table = {"mim": {}, "min": {"a": "x", "b": True, "c": math.inf}, "max": 3, "not-above-production": {"d": -1}}
    with pytest.raises(SettingsError, match=r"'mim'.*'a' is 'x'.*'b' is True.*'c' is inf.*max must be.*'d' is -1"):
        parse_rule(table)


@given(st.text(min_size=6, max_size=30), st.text(max_size=20), st.text(max_size=20))
def test_a_known_secret_is_never_shown(secret: str, before: str, after: str) -> None:
    if secret in "****":
        return
    assert secret not in Redactor([secret])(f"{before}{secret}{after}").replace("****", "")


def test_redactors_hide_themselves() -> None:
    redactor = Redactor(["hunter2-hunter2", "", "ab"])
    assert "hunter2" not in repr(redactor)
    assert b"hunter2" not in pickle.dumps(redactor)
    assert redactor("ab hunter2-hunter2 https://u:p@h/") == "ab **** https://u:****@h/"
    assert redactor.mapping({"api_key": "x", "tokens": "hunter2-hunter2!"}) == {"api_key": "****", "tokens": "****!"}


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "db.password",
        "aws_secret_access_key",
        "API-KEY",
        "auth_token",
        "a/secret",
        "token",
        "hf_token",
        "WANDB_TOKEN",
        "my.token",
        "credentials",
        "aws-credentials",
    ],
)
def test_names_that_tell_a_secret(name: str) -> None:
    assert names_a_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "max_tokens",
        "token_count",
        "n_tokens",
        "keyboard",
        "password_length",
        "secretary",
        "tokens",
        "token_id",
        "tokenizer",
        "loss_per_token",
        "pad_token",
        "eos_token",
        "bos-token",
        "tokenizer.unk_token",
        "sep_token",
        "cls_token",
        "mask_token",
        "special_token",
    ],
)
def test_names_that_tell_none(name: str) -> None:
    assert not names_a_secret(name)


def test_every_error_says_its_hint_and_survives_pickling() -> None:
    kinds = [HoldfastError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    assert len(kinds) > 10
    for kind in kinds:
        error = kind("what happened", "what mends it", retryable=True)
        assert str(error) == "what happened\n  hint: what mends it"
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
        assert (type(copy), copy.message, copy.hint, copy.retryable) == (kind, *error.args, "what mends it", True)
        assert kind.exit_code in (1, 2, 3)
