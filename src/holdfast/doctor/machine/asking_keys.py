"""Asks a session for its keys: without a prompt, and without waiting for a program of a profile that hangs."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.doctor.check import Finding, failed

_WAIT_S = 5.0
_MUST_PRINT = 'it must print {"Version": 1, "AccessKeyId": "…", "SecretAccessKey": "…"} and end'


@dataclass
class Asked:
    """What a session has said.

    Attributes:
        found: Its credentials, of botocore; None where there are none.
        keys: The keys themselves.
        error: What was raised.
        fault: What is wrong, where it is known well.
    """

    found: Any = None
    keys: Any = None
    error: Exception | None = None
    fault: Finding | None = None


def find_keys(session: Any) -> Asked:
    """Return the keys of a session of boto3; a profile that wants a code from a person is not asked."""
    fault = wants_code(session)
    return Asked(fault=fault) if fault else _ask(session, _profile_of(session))


def _profile_of(session: Any) -> Mapping[str, Any]:
    try:
        profile: Mapping[str, Any] = session._session.get_scoped_config()
    except Exception:  # asking for the keys says it again, in better words
        return {}
    return profile


def wants_code(session: Any) -> Finding | None:
    """Return the finding where a session would ask for a code on the terminal, in the middle of an examination."""
    profile = _profile_of(session)
    if not (profile.get("mfa_serial") and profile.get("role_arn")):
        return None
    name = shlex.quote(session.profile_name)
    return failed(
        f"profile {session.profile_name} wants a code (mfa_serial) for every session, which no program can type",
        f'eval "$(aws configure export-credentials --profile {name} --format env)" asks for it once; then unset '
        "MLFLOW_AWS_PROFILE and AWS_PROFILE",
    )


def _ask(session: Any, profile: Mapping[str, Any]) -> Asked:
    asked = Asked()

    def ask() -> None:
        try:
            asked.found = session.get_credentials()
            asked.keys = None if asked.found is None else asked.found.get_frozen_credentials()
        except Exception as error:  # of boto3, or of whoever it asks for keys
            asked.error = error

    thread = threading.Thread(target=ask, name="doctor keys", daemon=True)
    thread.start()
    thread.join(_WAIT_S)
    program = _program(profile)
    if thread.is_alive() and program:
        said = f"has not ended within {_WAIT_S:g} s"
        return Asked(fault=_of_program(session, program, said))
    thread.join()
    if isinstance(asked.error, ValueError | KeyError | AttributeError | TypeError) and program:
        return Asked(fault=_of_program(session, program, "prints something that is no JSON of keys"))
    return asked


def _program(profile: Mapping[str, Any]) -> str:
    """Return the program that a profile gets keys from, without its arguments: these may hold secrets."""
    command = str(profile.get("credential_process") or "").strip()
    return command.split()[0] if command else ""


def _of_program(session: Any, program: str, said: str) -> Finding:
    name = session.profile_name
    return failed(
        f"no keys can be had from profile {name}: its program (credential_process: {program} …) {said}",
        f"run it yourself (`aws configure get credential_process --profile {shlex.quote(name)}` shows it): "
        + _MUST_PRINT,
    )
