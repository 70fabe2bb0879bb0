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


def test_texts_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """What Rich would make a sign of, and what would steer the terminal."""
    output = get_output()
    output.table("", ["a"], [["best:x:min"]])
    output.line("best:x:min [bold]")
    output.error("best:x:min \x1b[31m", "best:x:min \r")
    output.hint("best:x:min \x07")
    out, err = capsys.readouterr()
    assert out.count("best:x:min") == 2
    assert err.count("best:x:min") == 3
    assert "[bold]" in out
    assert not any(control in err for control in "\x1b\r\x07")
