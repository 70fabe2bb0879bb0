"""Tables on a pipe."""

from __future__ import annotations

import pytest

from holdfast.cli.output import get_output


def test_a_table_on_a_pipe_is_as_wide_as_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 700
    get_output().table("A title", ["name", "value"], [["short", long], ["[b]", "y"]])
    printed = capsys.readouterr().out
    assert long in printed
    assert "[b]" in printed
    assert {len(line) for line in printed.splitlines()[1:]} == {len(long) + len("short") + 7}
