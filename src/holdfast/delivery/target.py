"""Where a journal is, how it is kept, and where it is delivered to: from the settings, and to another process."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from holdfast.core.login import Login
from holdfast.core.redaction import Redactor
from holdfast.core.sending import Sender
from holdfast.core.uris import is_database, mask_uri, scheme_of, secrets_in, slug
from holdfast.errors import SettingsError
from holdfast.journal.options import JournalOptions

if TYPE_CHECKING:
    from holdfast.settings import Settings

_OWN_AUTHENTICATION = ("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4")


@dataclass(frozen=True)
class Target:
    """A journal and its tracking store.

    Attributes:
        tracking_uri: The tracking store; it may hold a password, which neither `repr` nor the journal shows.
        root: The journal's folder.
        login: What the server asks for.
        options: How the journal is kept.
        exit_wait_s: How long a process waits for delivery at its end.
        read_wait_s: How long a read waits for delivery.
        shipper: Who delivers in the background.
    """

    tracking_uri: str = field(repr=False)
    root: Path
    login: Login = field(default_factory=Login)
    options: JournalOptions = field(default_factory=JournalOptions)
    exit_wait_s: float = 10.0
    read_wait_s: float = 10.0
    shipper: Literal["process", "thread", "none"] = "process"

    @property
    def destination(self) -> str:
        """The tracking store without its password, as it is shown and written down."""
        return mask_uri(self.tracking_uri)

    @property
    def redact(self) -> Redactor:
        """Hides the secrets of this target."""
        secrets = (self.login.password, self.login.token, *secrets_in(self.tracking_uri))
        return Redactor(tuple(secret for secret in secrets if secret))

    def sender(self, timeout_s: float = 30.0) -> Sender:
        """Return a way to the tracking store, for one thread; nothing is opened yet."""
        if is_database(self.tracking_uri):
            from holdfast.backend.store_sender import StoreSender

            return StoreSender(self.tracking_uri, self.redact)
        from holdfast.backend.rest_sender import RestSender

        return RestSender(self.tracking_uri, self.login, timeout_s, self.redact)

    def to_json(self) -> str:
        """Return everything as text for the standard input of a child process; it holds the secrets."""
        content = asdict(self) | {"root": str(self.root)}
        return json.dumps(content)

    @classmethod
    def from_json(cls, text: str) -> Target:
        """Return the target that `to_json` wrote."""
        content: dict[str, Any] = json.loads(text)
        content["root"] = Path(content["root"])
        content["login"] = Login(**content["login"])
        content["options"] = JournalOptions(**content["options"])
        return cls(**content)


def target_of(settings: Settings, environ: Mapping[str, str] | None = None) -> Target:
    """Return the journal and tracking store of a project.

    Args:
        settings: The project's settings.
        environ: Read for what MLflow knows by environment only (certificates); `os.environ` if not given.

    Raises:
        SettingsError: The tracking store is of a kind that is not delivered to.
    """
    environ = os.environ if environ is None else environ
    _check(settings.tracking_uri, environ)
    sync = settings.journal_sync
    options = JournalOptions(
        sync=sync if isinstance(sync, str) else "interval",
        sync_interval_s=max(0.01, sync) if isinstance(sync, float) else 1.0,
        limit_bytes=settings.journal_limit,
        when_full=settings.journal_full,
        keep_s=settings.journal_keep * 86400.0,
        # Small enough that a small limit is kept by deleting segments one by one.
        segment_bytes=min(16 << 20, max(16 << 10, settings.journal_limit // 16)),
    )
    return Target(
        tracking_uri=settings.tracking_uri,
        root=journal_folder(settings) / journal_name(settings.tracking_uri),
        login=login_of(settings, environ),
        options=options,
        exit_wait_s=settings.exit_wait,
        read_wait_s=settings.read_wait,
        shipper=settings.shipper,
    )


def journal_folder(settings: Settings) -> Path:
    """Return the folder that holds the journals of a project, one a tracking store."""
    return Path(settings.journal) if settings.journal else settings.project_root / ".holdfast" / "journal"


def _check(tracking_uri: str, environ: Mapping[str, str]) -> None:
    scheme = scheme_of(tracking_uri)
    if scheme not in ("http", "https") and not is_database(tracking_uri):
        raise SettingsError(
            f"HOLDFAST_DELIVERY=journal cannot deliver to {mask_uri(tracking_uri)}.",
            "use an http(s) server or a database, or set HOLDFAST_DELIVERY=direct",
        )
    own = [name for name in _OWN_AUTHENTICATION if environ.get(name, "").lower() not in ("", "false", "0")]
    if own:
        raise SettingsError(
            f"HOLDFAST_DELIVERY=journal does not know the authentication that {' and '.join(own)} asks for.",
            "use MLFLOW_TRACKING_USERNAME and _PASSWORD or MLFLOW_TRACKING_TOKEN, or set HOLDFAST_DELIVERY=direct",
        )


def login_of(settings: Settings, environ: Mapping[str, str] | None = None) -> Login:
    """Return how to log in to a project's tracking server; certificates are what MLflow knows by environment only."""
    environ = os.environ if environ is None else environ
    password, token = settings.tracking_password, settings.tracking_token
    return Login(
        username=settings.tracking_username,
        password=None if password is None else password.get_secret_value(),
        token=None if token is None else token.get_secret_value(),
        insecure_tls=environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"),
        ca_file=environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or None,
        client_cert=environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH") or None,
    )


def journal_name(tracking_uri: str) -> str:
    """Return the folder of a tracking store's journal: readable, and another one for each store."""
    shown = mask_uri(tracking_uri)
    digest = hashlib.sha256(shown.encode()).hexdigest()[:8]
    return f"{slug(shown.split('://', 1)[-1])[-40:].strip('-._') or 'store'}-{digest}"
