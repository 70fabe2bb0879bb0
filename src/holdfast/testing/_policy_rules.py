"""AWS's rules for policies, as a judge: written from AWS's documentation, for a test server that enforces them.

See "Policy evaluation logic", "IAM JSON policy elements: Condition operators" and "... Principal" in AWS's IAM guide:
an explicit deny wins, then an allow of any policy, else the answer is no. All operators of a condition must hold, and
all keys of an operator; of a key's values one is enough, and for a negated operator none may match. A key that the
request does not have matches nothing: so negated operators hold, others do not, and `...IfExists` does.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

Verdict = Literal["allow", "deny", ""]
Document = Mapping[str, Any]
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


@dataclass(frozen=True)
class Asked:
    """One permission that a request takes.

    Attributes:
        action: Such as `s3:PutObject`.
        resource: The ARN of what it is about.
        values: What conditions may look at, by condition key in lower case: `s3:prefix`, `aws:securetransport`.
    """

    action: str
    resource: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Principal:
    """Who asks.

    Attributes:
        account_id: The account.
        arns: The ARNs that stand for it: of the user, or of the role and its session. None for somebody unknown.
    """

    account_id: str = ""
    arns: tuple[str, ...] = ()


def is_allowed(asked: Asked, own: Sequence[Document], of_bucket: Sequence[Document], who: Principal) -> bool:
    """Whether somebody of the bucket's account may do something.

    Args:
        asked: What.
        own: The policies of whoever asks; none for somebody unknown.
        of_bucket: The bucket's policy, if there is one.
        who: Who asks.
    """
    verdicts = {judge(document, asked, None) for document in own} | {judge(each, asked, who) for each in of_bucket}
    return "deny" not in verdicts and "allow" in verdicts


def judge(document: Document, asked: Asked, who: Principal | None) -> Verdict:
    """Return what one policy says; nothing where none of its statements is about it.

    Args:
        document: The policy.
        asked: What is to be done.
        who: Who asks, for a policy of a resource; None for one of the asking user, which names no principal.
    """
    has_variables = document.get("Version") == "2012-10-17"
    verdicts = {
        str(statement["Effect"]).lower()
        for statement in _list(document.get("Statement"))
        if _applies(statement, asked, who, has_variables)
    }
    return "deny" if "deny" in verdicts else "allow" if "allow" in verdicts else ""


def _applies(statement: Mapping[str, Any], asked: Asked, who: Principal | None, has_variables: bool) -> bool:
    def names(element: str, value: str, case: bool) -> bool:
        return any(
            _matches(pattern, value, asked.values if has_variables else None, case)
            for pattern in _list(statement.get(element))
        )

    if "NotAction" in statement:
        is_action = not names("NotAction", asked.action, False)
    else:
        is_action = names("Action", asked.action, False)
    if "NotResource" in statement:
        is_resource = not names("NotResource", asked.resource, True)
    else:
        is_resource = names("Resource", asked.resource, True)
    if not is_action or not is_resource or (who is not None and not _is_about(statement, who)):
        return False
    return all(
        _holds(operator, key.lower(), _list(wanted), asked.values, has_variables)
        for operator, tests in (statement.get("Condition") or {}).items()
        for key, wanted in tests.items()
    )


def _is_about(statement: Mapping[str, Any], who: Principal) -> bool:
    if "NotPrincipal" in statement:
        return not _is_named(statement["NotPrincipal"], who, True)
    # To name an account allows it to allow its users, and denies all of them at once.
    return _is_named(statement.get("Principal"), who, statement["Effect"] == "Deny")


def _is_named(principal: Any, who: Principal, with_account: bool) -> bool:
    named = _list(principal.get("AWS")) if isinstance(principal, Mapping) else _list(principal)
    if "*" in named:
        return True
    account = {who.account_id, f"arn:aws:iam::{who.account_id}:root"} if with_account and who.account_id else set()
    return bool((account | set(who.arns)) & set(named))


def _holds(operator: str, key: str, wanted: list[Any], values: Mapping[str, str], has_variables: bool) -> bool:
    quantifier, _, bare = operator.rpartition(":")
    name, if_exists = bare.lower(), bare.lower().endswith("ifexists")
    name = name.removesuffix("ifexists")
    if name == "null":
        return all((key not in values) == (str(value).lower() == "true") for value in wanted)
    test, is_negated = _TESTS[name]
    if key not in values:
        # "For all" holds for none at all, and "for any" does not.
        return if_exists or quantifier.lower() == "forallvalues" or (is_negated and not quantifier)
    found = any(test(_text(value), values[key], values if has_variables else None) for value in wanted)
    return found != is_negated


def _matches(pattern: str, value: str, variables: Mapping[str, str] | None, case: bool = True) -> bool:
    """Whether a pattern with `*` and `?` is about a value; `${key}` is that value of the request, `${*}` a star."""
    return all(expression is not None for expression in _pieces(pattern, variables)) and bool(
        re.fullmatch(
            "".join(str(piece) for piece in _pieces(pattern, variables)),
            value,
            re.DOTALL if case else re.DOTALL | re.IGNORECASE,
        )
    )


def _pieces(pattern: str, variables: Mapping[str, str] | None) -> Iterator[str | None]:
    at = 0
    for found in _VARIABLE.finditer(pattern) if variables is not None else ():
        yield _wild(pattern[at : found.start()])
        name = found[1]
        value = name if name in ("*", "?", "$") else (variables or {}).get(name.lower())
        yield None if value is None else re.escape(value)
        at = found.end()
    yield _wild(pattern[at:])


@lru_cache(1024)
def _wild(text: str) -> str:
    return re.escape(text).replace(r"\*", ".*").replace(r"\?", ".")


def _plain(wanted: str, value: str, variables: Mapping[str, str] | None) -> bool:
    """Compare as it stands: stars are stars, though variables count."""
    if variables is None:
        return wanted == value
    return _matches(re.sub(r"(?<!\{)([*?])(?!\})", r"${\1}", wanted), value, variables)


def _arn(wanted: str, value: str, variables: Mapping[str, str] | None) -> bool:
    """Compare part by part: a star does not reach over a colon of the first five."""
    parts, own = wanted.split(":", 5), value.split(":", 5)
    return len(parts) == len(own) and all(map(lambda a, b: _matches(a, b, variables), parts, own))


def _number(compare: Callable[[float, float], bool]) -> Callable[..., bool]:
    return lambda wanted, value, _: compare(float(value), float(wanted))


def _address(wanted: str, value: str, _: Mapping[str, str] | None) -> bool:
    return ipaddress.ip_address(value) in ipaddress.ip_network(wanted, strict=False)


_TESTS: Mapping[str, tuple[Callable[[str, str, Mapping[str, str] | None], bool], bool]] = {
    "stringequals": (_plain, False),
    "stringnotequals": (_plain, True),
    "stringequalsignorecase": (lambda wanted, value, known: _plain(wanted.lower(), value.lower(), known), False),
    "stringnotequalsignorecase": (lambda wanted, value, known: _plain(wanted.lower(), value.lower(), known), True),
    "stringlike": (_matches, False),
    "stringnotlike": (_matches, True),
    "bool": (lambda wanted, value, _: wanted.lower() == value.lower(), False),
    "arnequals": (_arn, False),
    "arnlike": (_arn, False),
    "arnnotequals": (_arn, True),
    "arnnotlike": (_arn, True),
    "numericequals": (_number(lambda a, b: a == b), False),
    "numericnotequals": (_number(lambda a, b: a == b), True),
    "numericlessthan": (_number(lambda a, b: a < b), False),
    "numericlessthanequals": (_number(lambda a, b: a <= b), False),
    "numericgreaterthan": (_number(lambda a, b: a > b), False),
    "numericgreaterthanequals": (_number(lambda a, b: a >= b), False),
    "ipaddress": (_address, False),
    "notipaddress": (_address, True),
}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
