"""Which AWS credentials to use: a whole set from one source, never a mixture.

In order: arguments, the project's own `MLFLOW_AWS_*` (alias `MLFLOW_S3_*`), the global `AWS_*`,
`MLFLOW_AWS_PROFILE`, and boto3's own chain. Within a family the environment comes before
`.env`. A source that holds any part of a family must hold its whole: a key here is never
joined with a secret or a session token from there, for they could belong to two accounts.
What a stronger source makes irrelevant is not looked at, so it cannot fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import SecretStr

from holdfast.settings.credentials import Credentials
from holdfast.settings.layers import Found, Layer, Origin, Report, lookup, pick, reveal
from holdfast.settings.names import BY_NAME, PROFILE_VARIABLE

Choice = tuple[Credentials, Origin]
_PARTS = ("access_key_id", "secret_access_key", "session_token")
_TITLES = {"project": "project-specific", "global": "global"}
_PREFIXES = ("MLFLOW_AWS_", "MLFLOW_S3_", "AWS_")


@dataclass(frozen=True)
class _KeySet:
    """What one source holds of one family of keys."""

    kind: Literal["project", "global"]
    layer: Layer
    parts: Mapping[str, Found] = field(repr=False)

    @property
    def is_lone_token(self) -> bool:
        return set(self.parts) == {"session_token"}

    @property
    def given(self) -> str:
        """The names that are there."""
        return " and ".join(found.origin.name for found in self.parts.values())

    @property
    def missing(self) -> str:
        """The names that are not, in the style of those that are (MLFLOW_S3_… beside MLFLOW_S3_…)."""
        return " and ".join(self._name(part) for part in _PARTS[:2] if part not in self.parts)

    def _name(self, part: str) -> str:
        names = _names(self.layer, part, self.kind)
        there, found = next(iter(self.parts.items()))
        prefix = found.origin.name.lower().removesuffix(there)
        return next((name for name in names if name.lower() == prefix + part), names[0])

    @property
    def origin(self) -> Origin:
        first = next(iter(self.parts.values())).origin
        prefix = next((prefix for prefix in _PREFIXES if first.name.startswith(prefix)), "")
        return Origin(first.kind, f"{prefix}*" if prefix else "", first.path)


def choose_credentials(layers: Mapping[str, Layer], report: Report) -> Choice:
    """Return the credentials to use and where they came from.

    Args:
        layers: The sources by kind: argument, environment, dotenv, pyproject.
        report: Takes halves, disagreeing aliases, and notices.
    """
    chosen = _from_arguments(layers["argument"], report)
    if chosen is None:
        chosen = _from_variables((layers["environment"], layers["dotenv"]), report)
    if chosen is None:
        return _from_profile(layers, report)
    _note_unused_profile(chosen[0], layers, report)
    return chosen


def _from_arguments(layer: Layer, report: Report) -> Choice | None:
    keys = _key_set(layer, "project", report)
    profile = pick(layer, ("aws_profile",), report)
    if keys.parts and profile:
        report.refuse("AWS keys and aws_profile are both given as arguments.", "give one of them", True)
    if keys.parts:
        return _whole(keys, (), report)
    return _profile(profile) if profile else None


def _from_variables(layers: tuple[Layer, ...], report: Report) -> Choice | None:
    kinds: tuple[Literal["project", "global"], ...] = ("project", "global")
    for kind in kinds:
        for layer in layers:
            keys = _key_set(layer, kind, report)
            if keys.is_lone_token and kind == "global":
                # A left-over of an earlier login; boto3 overlooks it too.
                report.note(f"{keys.given} in {layer.title} is ignored: there is no access key beside it.")
            elif keys.parts:
                return _whole(keys, tuple(other for other in layers if other is not layer), report)
    return None


def _key_set(layer: Layer, kind: Literal["project", "global"], report: Report) -> _KeySet:
    found = {part: pick(layer, _names(layer, part, kind), report) for part in _PARTS}
    return _KeySet(kind, layer, {part: value for part, value in found.items() if value is not None})


def _names(layer: Layer, part: str, kind: str) -> tuple[str, ...]:
    return layer.names_for(BY_NAME[part], 0 if kind == "project" else 1)


def _whole(keys: _KeySet, others: tuple[Layer, ...], report: Report) -> Choice:
    if keys.missing:
        _refuse_half(keys, others, report)
    texts = {part: _key_text(found, keys.layer, report) for part, found in keys.parts.items()}
    origin, title = keys.origin, _TITLES[keys.kind]
    token = texts.get("session_token")
    chosen = Credentials(
        keys.kind,
        f"{title} ({origin.name})" if origin.name else "arguments",
        access_key_id=texts.get("access_key_id"),
        secret_access_key=SecretStr(texts.get("secret_access_key", "")),
        session_token=SecretStr(token) if token else None,
    )
    return chosen, origin


def _refuse_half(keys: _KeySet, others: tuple[Layer, ...], report: Report) -> None:
    where = keys.layer.title
    message = f"Half a credential: {keys.given} is given in {where}, but not {keys.missing}."
    for other in others:
        if _key_set(other, keys.kind, Report()).parts:
            message += f" What {other.title} holds was not combined with it."
    report.refuse(message, f"set {keys.missing} in {where} too, or remove {keys.given} from it", True)


def _key_text(found: Found, layer: Layer, report: Report) -> str:
    value = reveal(found.value)
    if isinstance(value, str) and value.strip().isprintable():
        return value.strip()
    report.refuse(
        f"{found.origin.name} in {layer.title} is no text of printable characters.", "copy it again, as one line", True
    )
    return ""


def _note_unused_profile(chosen: Credentials, layers: Mapping[str, Layer], report: Report) -> None:
    profile = lookup(BY_NAME["aws_profile"], layers.values(), Report())
    if profile is not None and chosen.kind != "profile":
        report.note(f"{profile.origin} is not used: {chosen.origin} keys come first.")


def _from_profile(layers: Mapping[str, Layer], report: Report) -> Choice:
    found = lookup(BY_NAME["aws_profile"], layers.values(), report)
    if found is None and pick(layers["environment"], (PROFILE_VARIABLE,), report) is None:
        # boto3 sees AWS_PROFILE in the environment by itself, but not in `.env`.
        found = pick(layers["dotenv"], (PROFILE_VARIABLE,), report)
    return _profile(found) if found else (Credentials("chain", "boto3's chain"), Origin("default"))


def _profile(found: Found) -> Choice:
    name = str(found.value).strip()
    return Credentials("profile", f"profile {name} ({found.origin.name})", profile=name), found.origin
