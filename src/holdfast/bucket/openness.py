"""Whether a bucket policy lets everybody in, by AWS's meaning of "public"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The condition keys with which a statement for everybody is one for some: see "The meaning of public" in AWS's
# "Blocking public access to your Amazon S3 storage".
_LIMITING = {
    *("aws:sourceip", "aws:sourcearn", "aws:sourcevpc", "aws:sourcevpce", "aws:sourceowner", "aws:sourceaccount"),
    *("aws:userid", "aws:principalorgid", "aws:principalorgpaths", "aws:principalarn", "aws:principalaccount"),
    *("s3:dataaccesspointarn", "s3:dataaccesspointaccount", "aws:sourceorgid", "aws:sourceorgpaths"),
    *("aws:vpcsourceip", "s3:x-amz-server-side-encryption-aws-kms-key-id"),
}
_FOR_ALL = {"*", "0.0.0.0/0", "::/0"}


def is_open_to_everybody(document: Mapping[str, Any]) -> bool:
    """Return whether a statement of the policy allows something to everybody, without a condition that says whom.

    A statement that allows to all but some (`NotPrincipal`) is one.
    """
    return any(_opens(statement) for statement in as_list(document.get("Statement")))


def is_everybody(statement: Mapping[str, Any]) -> bool:
    """Return whether a statement is about everybody: `"*"` or `{"AWS": "*"}`, or all but some."""
    if "NotPrincipal" in statement:
        return True
    principal = statement.get("Principal")
    named = principal.get("AWS") if isinstance(principal, Mapping) else principal
    return "*" in as_list(named)


def as_list(value: Any) -> list[Any]:
    """Return the values of an element that may be one or a list of them."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _opens(statement: Any) -> bool:
    if not isinstance(statement, Mapping) or statement.get("Effect") != "Allow" or not is_everybody(statement):
        return False
    conditions = statement.get("Condition") or {}
    return not any(_limits(operator, tests) for operator, tests in conditions.items())


def _limits(operator: str, tests: Mapping[str, Any]) -> bool:
    low = operator.lower()
    # "Everybody but these" and "if it is given" are no limit.
    if "not" in low or low == "null" or low.endswith("ifexists") or low.startswith("forallvalues"):
        return False
    return any(
        key.lower() in _LIMITING and not _FOR_ALL & {str(value) for value in as_list(values)}
        for key, values in tests.items()
    )
