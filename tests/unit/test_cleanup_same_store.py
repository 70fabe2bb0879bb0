"""Whether a database is the one behind a server."""

from __future__ import annotations

import pytest

from holdfast.backend.cleanup.same_store import ServerSide, check_same
from holdfast.core.cleanup.records import ExperimentRecord, RunRecord, State
from holdfast.errors import SettingsError

SERVER, DATABASE = "http://mlflow:5000", "postgresql://me:secret@db/mlflow"
KNOWN = ServerSide((("0", "Default", "s3://b/0"), ("1", "one", "s3://b/1")), ("newest",))
STATE = State(
    (ExperimentRecord("0", "Default", "s3://b/0"), ExperimentRecord("1", "one", "s3://b/1", is_deleted=True)),
    (RunRecord("newest", "1", "s3://b/1/newest", is_deleted=True), RunRecord("older", "0", "s3://b/0/older")),
)


def test_its_own() -> None:
    check_same(KNOWN, STATE, SERVER, DATABASE)


@pytest.mark.parametrize(
    ("state", "missing"),
    [
        (State(), "the experiment 'Default'"),
        (State(STATE.experiments[:1], STATE.runs), "the experiment 'one'"),
        (State((*STATE.experiments[:1], ExperimentRecord("1", "one", "s3://other/1")), STATE.runs), "'one'"),
        (State((*STATE.experiments[:1], ExperimentRecord("1", "two", "s3://b/1")), STATE.runs), "'one'"),
        (State(STATE.experiments, STATE.runs[1:]), "the run newest"),
    ],
)
def test_another_one_or_an_old_copy(state: State, missing: str) -> None:
    with pytest.raises(SettingsError, match=missing) as caught:
        check_same(KNOWN, state, SERVER, DATABASE)
    assert "secret" not in str(caught.value)
