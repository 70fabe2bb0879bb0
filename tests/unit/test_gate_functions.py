"""A gate that asks a function of the user's own, whatever that does."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast import open_project
from holdfast.backend.entities import ModelVersion
from holdfast.core.promotion import CheckAnswer
from holdfast.core.stages import Stage
from holdfast.errors import ArtifactError, BackendUnavailableError, CredentialsError, HoldfastError, NotFoundError
from holdfast.registry.gates.answering import answered
from holdfast.registry.gates.case import Case
from holdfast.registry.gates.functions import Asks

Ask = Callable[[str], CheckAnswer]


@pytest.fixture
def case(canary: str, tmp_path: Path) -> Iterator[Case]:
    project = open_project(
        tracking_uri=f"sqlite:///{tmp_path}/none.db", tracking_username="user", tracking_password=canary
    )
    version = ModelVersion("m", 3, None, "READY", "", "", "", 0, tags={"owner": "me"})
    with Case(project, version, Stage.PRODUCTION) as case:
        yield case


@pytest.fixture
def ask(case: Case) -> Ask:
    """Write a module into the working directory, and ask its function `gate`."""

    def write_and_ask(code: str) -> CheckAnswer:
        module = f"checks_{uuid.uuid4().hex}"
        Path(f"{module}.py").write_text(code)
        return Asks(f"{module}:gate").answer(case)

    return write_and_ask


@pytest.mark.parametrize(
    ("code", "passed", "said"),
    [
        ("def gate(case): return True", True, "it says yes"),
        ("def gate(case): return case.candidate.tags['owner'] == 'you'", False, "it says no"),
        ("def gate(case): return case.candidate.version == 3, f'version {case.candidate.version}'", True, "version 3"),
        ("def gate(case): return False, 'too\\n  slow'", False, "too slow"),
        ("import numpy\ndef gate(case): return numpy.float64(1) > 0.5", True, "it says yes"),
        ("import numpy\ndef gate(case): return numpy.array(False), 'no'", False, "no"),
        (
            "from holdfast.core.promotion import CheckAnswer\ndef gate(case): return CheckAnswer('x', True, 'fair')",
            True,
            "fair",
        ),
        ("class G:\n  def __call__(self, case): return True, 'called'\ngate = G()", True, "called"),
        ("def gate(case): return None", False, "it returned a NoneType; return True, False, (True, reason)"),
        ("def gate(case): return 'yes'", False, "it returned a str"),
        ("def gate(case): return 1", False, "it returned a int"),
        ("def gate(case): return True, 'a', 'b'", False, "it returned a tuple"),
        ("def gate(case): return 'no', True", False, "it returned a str"),
        ("import numpy\ndef gate(case): return numpy.array([True])", False, "it returned a ndarray"),
        ("gate = 3", False, "is a int, no function"),
        ("x = 3", False, "has no gate"),
        ("def gate(): return True", False, "it raised TypeError: gate() takes 0 positional arguments"),
        ("def gate(case): 1 / 0", False, "it raised ZeroDivisionError: division by zero"),
        ("def gate(case): raise SystemExit(0)", False, "it raised SystemExit: 0"),
        ("raise SystemExit(0)", False, "it raised SystemExit: 0"),
        ("import os\ndef gate(case): os._exit(0)", False, "it raised SystemExit: os._exit(0), which is not an answer"),
        ("from os import _exit\ndef gate(case): _exit(0)", False, "it raised SystemExit: os._exit(0)"),
        ("import os\nos._exit(0)", False, "it raised SystemExit: os._exit(0)"),
        ("import sys\ndef gate(case): sys.exit(0)", False, "it raised SystemExit: 0"),
        ("raise RuntimeError('at import')", False, "it raised RuntimeError: at import"),
        ("def gate(case", False, "it raised SyntaxError"),
        ("import not_there_at_all\ndef gate(case): return True", False, "there is no module not_there_at_all"),
        ("class E(Exception):\n  def __str__(self): 1/0\ndef gate(case): raise E", False, "it raised E: …"),
        ("def gate(case): return case.folder", False, "it raised"),
    ],
)
def test_what_a_function_says(ask: Ask, code: str, passed: bool, said: str) -> None:
    answer = ask(code)
    assert (answer.passed, said in answer.reason) == (passed, True), answer
    assert answer.check.startswith("callable checks_")


def test_a_module_that_is_missing(case: Case) -> None:
    answer = Asks("no.such.module:gate").answer(case)
    assert (answer.passed, answer.reason.partition(";")[0]) == (False, "there is no module no")


def test_what_it_forks_may_end_as_it_likes(ask: Ask) -> None:
    before = os._exit
    child = "os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])"
    forks = f"import os\ndef gate(case):\n  child = os.fork()\n  if not child: os._exit(7)\n  return {child} == 7"
    assert ask(forks).passed
    assert os._exit is before


def test_ctrl_c_gets_through(ask: Ask) -> None:
    with pytest.raises(KeyboardInterrupt):
        ask("def gate(case): raise KeyboardInterrupt")


def test_it_leaves_stdout_and_the_search_path_alone(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    before = list(sys.path)
    assert ask("import helper_beside_it\ndef gate(case): print('loud'); return True").passed is False
    Path("helper_beside_it_2.py").write_text("")
    assert ask("import sys\ndef gate(case):\n  import helper_beside_it_2\n  print('loud')\n  return True").passed
    assert capsys.readouterr() == ("", "loud\n")
    assert sys.path == before


def test_an_installed_module_wins_over_a_file_of_the_project(ask: Ask) -> None:
    Path("colorsys.py").write_text("raise RuntimeError('the wrong one')")
    sys.modules.pop("colorsys", None)
    assert ask("import colorsys\ndef gate(case): return bool(colorsys.rgb_to_hsv)").passed


def test_what_it_says_is_short_and_holds_no_secret(ask: Ask, canary: str) -> None:
    # In two parts, so that neither the module nor what is compiled of it holds it.
    secret = f"''.join(({canary[:9]!r}, {canary[9:]!r}))"
    answer = ask(f"def gate(case): raise ValueError('begin ' + 'x' * 5000 + {secret} + ' end')")
    assert answer.reason.startswith("it raised ValueError: begin xxx")
    assert answer.reason.endswith("x**** end")
    assert len(answer.reason) <= 600
    assert ask(f"def gate(case): return True, {secret}").reason == "****"


@pytest.mark.parametrize(
    ("error", "is_answer"),
    [
        (ArtifactError("There is no model."), True),
        (NotFoundError("There is no run."), True),
        (ArtifactError("The store is out of reach.", retryable=True), False),
        (BackendUnavailableError("The server is out of reach.", retryable=True), False),
        (CredentialsError("There are no keys."), False),
    ],
)
def test_only_what_cannot_be_reached_is_an_error(case: Case, error: HoldfastError, is_answer: bool) -> None:
    def look() -> str:
        raise error

    if is_answer:
        assert answered("x", case, look) == CheckAnswer("x", False, error.message)
    else:
        with pytest.raises(type(error)):
            answered("x", case, look)
