"""The journal on a file system that fails, crashes and loses power, with what is read compared to what was logged."""

from __future__ import annotations

import pytest
from hypothesis.stateful import run_state_machine_as_test
from journal_checks import CHECKS
from journal_machine import JournalMachine, bounded
from journal_world import IS_LONG, Build


@pytest.mark.parametrize("check", CHECKS)
def test_a_fault_at_every_operation(check: str) -> None:
    CHECKS[check](Build())


@pytest.mark.timeout(3600 if IS_LONG else 300)
def test_random_histories() -> None:
    run_state_machine_as_test(JournalMachine, settings=bounded(4000 if IS_LONG else 120, 60 if IS_LONG else 40))
