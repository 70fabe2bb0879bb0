"""The settings themselves: frozen, and safe to print, log and dump."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FieldSerializationInfo, SecretStr, field_serializer

from holdfast.core.locations import lies_below
from holdfast.core.uris import MASK, is_database, mask_uri, scheme_of, secrets_in
from holdfast.errors import InvalidInputError, SettingsError
from holdfast.settings.credentials import Credentials
from holdfast.settings.layers import Origin
from holdfast.settings.names import BY_NAME, FIELDS
from holdfast.settings.webhooks import host_of

_SERVER_DECIDES = "decided by the tracking server"
_SECRET_KEY = re.compile(r"key(?!id)|secret|token|pass|context", re.IGNORECASE)

# Pydantic makes dicts of mappings; frozen settings hold what cannot be changed.
_Table = Annotated[Mapping[str, Any], AfterValidator(MappingProxyType)]


def _empty() -> Mapping[str, Any]:
    return MappingProxyType({})


class Row(NamedTuple):
    """One line of `holdfast config show`: the setting, its value with secrets masked, and where it came from."""

    field: str
    shown: str
    origin: Origin


class Settings(BaseModel):
    """Everything Holdfast needs to know, read once by `load_settings`.

    The attributes hold real values; `repr`, `str`, `describe`, `model_dump` and
    `model_dump_json` mask passwords and keys. Pickling is refused: a process that needs the
    settings reads them itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    tracking_uri: str
    registry_uri: str | None = None
    backend_store_uri: str | None = None
    artifact_root: str | None = None
    artifact_root_is_configured: bool = False
    artifacts_destination: str | None = None
    s3_endpoint_url: str | None = None
    s3_ignore_tls: bool = False
    s3_ca_bundle: str | None = None
    s3_upload_extra_args: _Table = Field(default_factory=_empty)
    s3_addressing_style: Literal["auto", "path", "virtual"] = "auto"
    s3_checksums: Literal["auto", "always", "never"] = "auto"
    s3_bucket_owner: str | None = None
    s3_encryption: str | None = None
    s3_kms_key_id: str | None = None
    s3_storage_class: str | None = None
    s3_acl: str | None = None
    s3_tagging: str | None = None
    transfer_threads: int = 16
    upload_rate: int | None = None
    transfer_deadline: float = 120.0
    experiment_name: str = "Default"
    run_name_prefix: str | None = None
    tracking_username: str | None = None
    tracking_password: SecretStr | None = None
    tracking_token: SecretStr | None = None
    region: str = "us-east-1"
    credentials: Credentials
    role_arn: str | None = None
    external_id: str | None = None
    role_session_name: str | None = None
    web_identity_token_file: str | None = None
    sts_endpoint_url: str | None = None
    workspaces: _Table = Field(default_factory=_empty)
    lineage: Literal["tags", "off"] = "tags"
    user: str | None = None
    promotion: _Table = Field(default_factory=_empty)
    gc: _Table = Field(default_factory=_empty)
    cache: str | None = None
    cache_limit: int = 10 << 30
    webhooks: tuple[_Table, ...] = ()
    webhook_secret: SecretStr | None = None
    delivery: Literal["journal", "direct"] | None = None
    journal: str | None = None
    journal_limit: int = 10 << 30
    journal_full: Literal["error", "block"] = "error"
    journal_sync: float | Literal["always", "process"] = 1.0
    journal_keep: float = 7.0
    exit_wait: float = 10.0
    read_wait: float = 10.0
    shipper: Literal["process", "thread", "none"] = "process"
    project_root: Path
    notices: tuple[str, ...] = ()
    origins: Annotated[Mapping[str, Origin], AfterValidator(MappingProxyType)] = Field(
        default_factory=_empty, exclude=True
    )

    @property
    def region_origin(self) -> Origin:
        """Where the region came from."""
        return self.origin_of("region")

    @property
    def uses_s3(self) -> bool:
        """Whether files go to S3 by these settings (a tracking server may decide otherwise)."""
        return self.artifact_root is not None and scheme_of(self.artifact_root) == "s3"

    @property
    def s3_put_arguments(self) -> Mapping[str, Any]:
        """What goes with every upload, by boto3's names: `s3_upload_extra_args` over the settings of their own."""
        own = {
            "ServerSideEncryption": self.s3_encryption or ("aws:kms" if self.s3_kms_key_id else None),
            "SSEKMSKeyId": self.s3_kms_key_id,
            "StorageClass": self.s3_storage_class,
            "ACL": self.s3_acl,
            "Tagging": self.s3_tagging,
        }
        return {name: value for name, value in own.items() if value} | dict(self.s3_upload_extra_args)

    @property
    def storage_type(self) -> str:
        """What kind of store files go to: `S3 (Remote)`, `Local`, another cloud's, or the server's choice."""
        if self.artifact_root is None:
            return _SERVER_DECIDES
        names = {"s3": "S3 (Remote)", "": "Local", "mlflow-artifacts": "through the tracking server"}
        scheme = scheme_of(self.artifact_root)
        return names.get(scheme, f"{scheme} (Remote)")

    def is_elsewhere(self, location: str) -> bool:
        """Whether an artifact location lies outside of the root that somebody configured; not so where nobody did."""
        root = self.artifact_root
        return self.artifact_root_is_configured and root is not None and not lies_below(location, root)

    def secrets(self) -> tuple[str, ...]:
        """Return every secret value, for redacting texts that come from elsewhere; never show the result."""
        keys = (self.credentials.secret_access_key, self.credentials.session_token)
        own = (self.tracking_password, self.tracking_token, self.webhook_secret)
        wrapped = [secret for secret in (*keys, *own) if secret is not None]
        addresses = [getattr(self, field.name) for field in FIELDS if field.is_uri]
        in_addresses = [secret for uri in addresses if uri is not None for secret in secrets_in(uri)]
        urls = [hook["url"] for hook in self.webhooks]
        in_addresses += [secret for url in urls for secret in secrets_in(url)]
        in_addresses += [url for url in urls if url.rstrip("/") != host_of(url)]  # a path may be a secret as well
        values = [secret.get_secret_value() for secret in wrapped]
        signing = [] if self.webhook_secret is None else self.webhook_secret.get_secret_value().split()
        return tuple(text for text in (*values, *signing, *in_addresses) if text)

    def origin_of(self, field: str) -> Origin:
        """Return where a setting came from.

        Args:
            field: A field of this object, or `access_key_id`, `secret_access_key`, `session_token`, `aws_profile`.

        Raises:
            InvalidInputError: There is no such setting.
        """
        if field in ("access_key_id", "secret_access_key", "session_token", "aws_profile"):
            field = "credentials"
        if field not in type(self).model_fields:
            raise InvalidInputError(f"There is no setting {field!r}.", "see `holdfast config show`")
        return self.origins.get(field, Origin("default"))

    def describe(self) -> list[Row]:
        """Return every setting with its value masked where needed, and its origin."""
        rows = [Row(field.name, self._shown(field.name), self._row_origin(field.name)) for field in FIELDS]
        position = next(i for i, row in enumerate(rows) if row.field == "access_key_id")
        rows.insert(position, Row("credentials", self.credentials.origin, self.origin_of("credentials")))
        rows.append(Row("project_root", str(self.project_root), Origin("default")))
        return rows

    def _row_origin(self, name: str) -> Origin:
        credentials = self.credentials
        absent = {
            "access_key_id": credentials.access_key_id is None,
            "secret_access_key": credentials.secret_access_key is None,
            "session_token": credentials.session_token is None,
            "aws_profile": credentials.profile is None,
        }
        return Origin("default") if absent.get(name) else self.origin_of(name)

    def _shown(self, name: str) -> str:
        if name == "aws_profile":
            return self.credentials.profile or ""
        in_credentials = name in ("access_key_id", "secret_access_key", "session_token")
        value = getattr(self.credentials if in_credentials else self, name)
        if BY_NAME[name].is_secret:
            return MASK if value else ""
        shown = _masked(name, value)
        if isinstance(shown, bool | dict | list):
            return json.dumps(shown, default=str) if shown not in ({}, []) else ""
        return "" if shown is None else str(shown)

    def __str__(self) -> str:
        """Return the block that the tracking set-up prints."""
        lines = [
            "MLflow Configuration:",
            f"  Tracking URI: {mask_uri(self.tracking_uri)}",
            f"  Storage Type: {self.storage_type}",
            f"  Artifact Root: {mask_uri(self.artifact_root) if self.artifact_root else _SERVER_DECIDES}",
            *([f"  S3 Endpoint: {mask_uri(self.s3_endpoint_url)}"] if self.s3_endpoint_url else []),
            f"  AWS Credentials: {self.credentials.origin}",
            f"  AWS Region: {self.region}",
        ]
        return "\n".join(lines)

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        """Yield what `repr` shows: every field but `origins`, masked."""
        for name in type(self).model_fields:
            if name != "origins":
                yield name, _masked(name, getattr(self, name))

    def __copy__(self) -> Settings:
        return self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Settings:
        """Return other settings with some fields replaced, which are not validated; these stay as they are."""
        return type(self).model_construct(_fields_set=None, **(dict(self) | dict(update or {})))

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Settings:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise SettingsError(
            "Settings are not pickled, so that no credential is written to a file or sent to another process.",
            "call load_settings() in the process that needs them",
        )

    @field_serializer("*")
    def _serialize(self, value: Any, info: FieldSerializationInfo[Any]) -> Any:
        # Every way out of the object masks: a dump is for logs and screens.
        shown = _masked(info.field_name, value)
        return str(shown) if isinstance(shown, Path) else shown


def _masked(name: str | None, value: Any) -> Any:
    if isinstance(value, SecretStr) or (name == "tracking_username" and value):
        return MASK
    if isinstance(value, Credentials):
        return {"kind": value.kind, "origin": value.origin, "profile": value.profile, "region": value.region}
    if name == "webhooks":
        return [{**dict(hook), "url": f"{host_of(hook['url'])}/{MASK}"} for hook in value]
    if isinstance(value, str):
        return mask_uri(value) if name in BY_NAME and BY_NAME[name].is_uri else value
    if isinstance(value, Mapping):
        return _masked_arguments(value) if name == "s3_upload_extra_args" else dict(value)
    return value


def _masked_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return S3's upload arguments without customer keys (SSECustomerKey) and the like."""
    return {key: MASK if _SECRET_KEY.search(key) else _masked_argument(item) for key, item in arguments.items()}


def _masked_argument(item: Any) -> Any:
    if isinstance(item, Mapping):
        return _masked_arguments(item)
    return [_masked_argument(part) for part in item] if isinstance(item, list | tuple) else item


def default_artifact_root(tracking_uri: str, project_root: Path) -> str | None:
    """Return where files go if nobody says: beside the database, or None where a server decides."""
    return str(project_root / "mlartifacts") if is_database(tracking_uri) else None
