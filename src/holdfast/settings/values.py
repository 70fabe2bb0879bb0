"""From what a source holds to what a setting is: each value checked, with its name in the error."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, urlencode

from pydantic import ByteSize, TypeAdapter, ValidationError

from holdfast.core import uris
from holdfast.errors import InvalidInputError
from holdfast.settings.webhooks import webhooks

_BOOLEAN = TypeAdapter(bool)
_BYTES = TypeAdapter(ByteSize)
_LEAST_JOURNAL = 64 << 10
_REGION = re.compile(r"(?![0-9]+$)(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_STYLES = ("auto", "path", "virtual")


@dataclass(frozen=True)
class Where:
    """The name a value was given under, and the folder that relative paths are taken from."""

    name: str
    root: Path


def text(value: object, where: Where) -> str:
    """Return one line of text without blanks around it.

    Raises:
        InvalidInputError: It is no text, or holds control characters.
    """
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str):
        raise InvalidInputError(f"{where.name} is no text ({type(value).__name__}).", "write it in quotes")
    if not value.strip().isprintable():
        raise InvalidInputError(f"{where.name} holds control characters.", "write it as one line")
    return value.strip()


def tracking_uri(value: object, where: Where) -> str:
    """Return a tracking or registry URI in its normal form, a relative SQLite path made absolute."""
    return uris.resolve_sqlite_uri(uris.normalize_tracking_uri(text(value, where), where.name), where.root)


def database_uri(value: object, where: Where) -> str:
    """Return a database URI in its normal form.

    Raises:
        InvalidInputError: It is another kind of URI.
    """
    uri = tracking_uri(value, where)
    if not uris.is_database(uri):
        raise InvalidInputError(
            f"{where.name}={uris.mask_uri(uri)} is no database.",
            f"set {where.name}=sqlite:///mlflow.db or postgresql://user@host:5432/database",
        )
    return uri


def artifact_root(value: object, where: Where) -> str:
    """Return an artifact root in its normal form, a relative folder made absolute."""
    return uris.normalize_artifact_root(text(value, where), where.name, where.root)


def endpoint_url(value: object, where: Where) -> str:
    """Return the S3 server's URL without a trailing slash.

    Raises:
        InvalidInputError: It is no http(s) URL, or holds keys.
    """
    url = text(value, where)
    right = f"write {where.name}=http://host:9000 or https://host"
    if uris.scheme_of(url) not in ("http", "https"):
        raise InvalidInputError(f"{where.name}={uris.mask_uri(url)} is no http(s) URL.", right)
    # Before anything else: a login is never allowed here, also where it could be mended by encoding it.
    if "@" in url or "?" in url:
        raise InvalidInputError(f"{where.name}={uris.mask_uri(url)} holds more than host, port and path.", right)
    try:
        normal = uris.normalize_tracking_uri(url, where.name)
    except InvalidInputError as error:
        raise InvalidInputError(error.message, right) from None
    return normal


def boolean(value: object, where: Where) -> bool:
    """Return true/false from true, false, 1, 0, yes, no, on or off."""
    try:
        return _BOOLEAN.validate_python(value.strip() if isinstance(value, str) else value)
    except ValidationError:
        raise InvalidInputError(f"{where.name} is neither true nor false.", "write true or false") from None


def json_object(value: object, where: Where) -> Mapping[str, Any]:
    """Return a read-only mapping from a JSON object or a mapping; the values are not shown in errors."""
    try:
        content = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        content = None
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise InvalidInputError(
            f"{where.name} is no JSON object.", f"""write {where.name}='{{"ServerSideEncryption": "AES256"}}'"""
        )
    return MappingProxyType(dict(content))


def table(value: object, where: Where) -> Mapping[str, Any]:
    """Return a read-only mapping from a table."""
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{where.name} is no table.", f"write it as [{where.name}]")
    return MappingProxyType(dict(value))


def addressing_style(value: object, where: Where) -> str:
    """Return `auto`, `path` or `virtual`."""
    style = text(value, where).lower()
    if style not in _STYLES:
        raise InvalidInputError(f"{where.name}={style} is no addressing style.", f"write one of {', '.join(_STYLES)}")
    return style


_ENCRYPTIONS = ("AES256", "aws:kms", "aws:kms:dsse")


def encryption(value: object, where: Where) -> str:
    """Return S3's word for an encryption by the server."""
    word = text(value, where)
    found = next((known for known in _ENCRYPTIONS if known.lower() == word.lower()), None)
    if found is None:
        raise InvalidInputError(f"{where.name}={word} is no encryption.", f"write one of {', '.join(_ENCRYPTIONS)}")
    return found


def rate(value: object, where: Where) -> int:
    """Return bytes a second from a number, or a text such as `20MB` or `20MB/s`; at least 64 KiB."""
    return size_bytes(value.strip().removesuffix("/s") if isinstance(value, str) else value, where)


def threads(value: object, where: Where) -> int:
    """Return a number of threads, from 1 to 256."""
    try:
        count = 0 if isinstance(value, bool) else int(str(value).strip())
    except ValueError:
        count = 0
    if not 1 <= count <= 256:
        raise InvalidInputError(f"{where.name}={value} is no number from 1 to 256.", f"write {where.name}=16")
    return count


def role_arn(value: object, where: Where) -> str:
    """Return the ARN of a role."""
    arn = text(value, where)
    if not arn.startswith("arn:") or len(arn.split(":")) < 6:
        raise InvalidInputError(
            f"{where.name}={arn} is no ARN of a role.", f"write {where.name}=arn:aws:iam::123456789012:role/mlflow"
        )
    return arn


def account_id(value: object, where: Where) -> str:
    """Return an AWS account's number, twelve digits, leading zeros included."""
    found = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{12}", found):
        raise InvalidInputError(f"{where.name}={found} is no AWS account.", "write its twelve digits, in quotes")
    return found


def tagging(value: object, where: Where) -> str:
    """Return tags in the form of a URL's query, from such a text or a table."""
    if isinstance(value, Mapping):
        return urlencode({str(key): str(item) for key, item in value.items()})
    found = text(value, where)
    try:
        parse_qsl(found, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise InvalidInputError(
            f"{where.name}={found} are no tags.", f"write {where.name}='team=vision&cost=42'"
        ) from None
    return found


_WORKSPACE_KEYS = ("aws-profile", "role-arn", "external-id", "env-file")


def workspaces(value: object, where: Where) -> Mapping[str, Any]:
    """Return workspace → table of `aws-profile`, `role-arn`, `external-id`, `env-file`."""
    found = {
        str(name): dict(table(entry, Where(f"{where.name}.{name}", where.root)))
        for name, entry in table(value, where).items()
    }
    for name, entry in found.items():
        unknown = [key for key in entry if key not in _WORKSPACE_KEYS or not isinstance(entry[key], str)]
        if unknown:
            raise InvalidInputError(
                f"{where.name}.{name} holds {', '.join(unknown)}, which is not known or no text.",
                f"write {', '.join(_WORKSPACE_KEYS)} (keys themselves belong into the env-file)",
            )
    return MappingProxyType({name: MappingProxyType(entry) for name, entry in found.items()})


def region(value: object, where: Where) -> str:
    """Return an AWS region's name."""
    name = text(value, where)
    if not _REGION.fullmatch(name):
        raise InvalidInputError(f"{where.name}={name} is no region.", f"write one such as {where.name}=us-east-1")
    return name


def local_path(value: object, where: Where) -> str:
    """Return an absolute path from one that may be relative to the project's root."""
    return str((where.root / uris.expand_home(text(value, where))).resolve())


def one_of(*words: str) -> Callable[[object, Where], str]:
    """Return a parser that takes one of a few words."""

    def parse(value: object, where: Where) -> str:
        word = text(value, where).lower()
        if word not in words:
            raise InvalidInputError(f"{where.name}={word} is not known.", f"write one of {', '.join(words)}")
        return word

    return parse


def size_bytes(value: object, where: Where) -> int:
    """Return a size in bytes from a number, or a text such as `500MB` or `10GiB`; at least 64 KiB."""
    try:
        size = int(_BYTES.validate_python(value))
    except ValidationError:
        raise InvalidInputError(f"{where.name} is no size.", f"write {where.name}=10GiB or 500MB") from None
    if size < _LEAST_JOURNAL:
        raise InvalidInputError(f"{where.name} is below 64 KiB.", f"write {where.name}=10GiB or 500MB")
    return size


def seconds(*words: str, unlimited: bool = False) -> Callable[[object, Where], float | str]:
    """Return a parser that takes a number of seconds from 0 up, or one of a few words.

    Args:
        words: Words that are passed on as they are.
        unlimited: Whether `unlimited` is allowed, which becomes infinity.
    """

    def parse(value: object, where: Where) -> float | str:
        word = str(value).strip().lower()
        if word in words:
            return word
        if unlimited and word in ("unlimited", "inf", "infinity"):
            return math.inf
        return number(value, where, (*words, *(("unlimited",) if unlimited else ())))

    return parse


def number(value: object, where: Where, words: tuple[str, ...] = ()) -> float:
    """Return a finite number from 0 up."""
    try:
        found = math.nan if isinstance(value, bool) else float(str(value).strip().removesuffix("s"))
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        also = f", or {', '.join(words)}" if words else ""
        raise InvalidInputError(f"{where.name}={value} is no number from 0 up.", f"write {where.name}=10{also}")
    return found


PARSERS: Mapping[str, Callable[[object, Where], object]] = {
    "tracking_uri": tracking_uri,
    "registry_uri": tracking_uri,
    "backend_store_uri": database_uri,
    "artifact_root": artifact_root,
    "artifacts_destination": artifact_root,
    "experiment_name": text,
    "run_name_prefix": text,
    "s3_endpoint_url": endpoint_url,
    "s3_ignore_tls": boolean,
    "s3_ca_bundle": local_path,
    "s3_upload_extra_args": json_object,
    "s3_addressing_style": addressing_style,
    "s3_checksums": one_of("auto", "always", "never"),
    "s3_bucket_owner": account_id,
    "s3_encryption": encryption,
    "s3_kms_key_id": text,
    "s3_storage_class": text,
    "s3_acl": text,
    "s3_tagging": tagging,
    "transfer_threads": threads,
    "upload_rate": rate,
    "transfer_deadline": number,
    "aws_profile": text,
    "role_arn": role_arn,
    "external_id": text,
    "role_session_name": text,
    "web_identity_token_file": local_path,
    "sts_endpoint_url": endpoint_url,
    "workspaces": workspaces,
    "region": region,
    "lineage": one_of("tags", "off"),
    "user": text,
    "cache": local_path,
    "cache_limit": size_bytes,
    "promotion": table,
    "gc": table,
    "webhooks": webhooks,
    "delivery": one_of("journal", "direct"),
    "journal": local_path,
    "journal_limit": size_bytes,
    "journal_full": one_of("error", "block"),
    "journal_sync": seconds("always", "process"),
    "journal_keep": number,
    "exit_wait": seconds(unlimited=True),
    "read_wait": seconds(),
    "shipper": one_of("process", "thread", "none"),
}
