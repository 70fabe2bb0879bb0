"""AWS credentials of one source, kept out of everything that is shown, and boto3 sessions made from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from pydantic import SecretStr

from holdfast.errors import CredentialsError, SettingsError

if TYPE_CHECKING:
    from boto3.session import Session

Kind = Literal["project", "global", "profile", "chain"]


@dataclass(frozen=True, eq=False)
class Credentials:
    """AWS credentials of one source.

    `repr`, pickle and JSON never hold a key: `repr` shows the origin only, and pickling is refused.

    Attributes:
        kind: `project` (arguments or MLFLOW_AWS_*), `global` (AWS_*), `profile`, or `chain` (boto3's own search).
        origin: The same for people.
        access_key_id: The key; None for `profile` and `chain`.
        secret_access_key: Its secret.
        session_token: Its session token, if it has one.
        profile: The profile's name for `profile`.
        region: The region that sessions are made for.
    """

    kind: Kind
    origin: str
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: SecretStr | None = field(default=None, repr=False)
    session_token: SecretStr | None = field(default=None, repr=False)
    profile: str | None = None
    region: str | None = None

    def session(self) -> Session:
        """Return a new boto3 session with these credentials; keep it, for each call makes another.

        It is never boto3's default session. With keys, the environment's `AWS_*` keys and
        `AWS_PROFILE` have no part in it; with `chain`, boto3 searches as it always does.

        Raises:
            CredentialsError: The profile does not exist, or AWS's own files are malformed.
        """
        from botocore.exceptions import BotoCoreError

        try:
            return self._new_session()
        except BotoCoreError as error:
            raise CredentialsError(
                f"No AWS session can be made from {self.origin}: {error}",
                "see ~/.aws/config, or set MLFLOW_AWS_ACCESS_KEY_ID and MLFLOW_AWS_SECRET_ACCESS_KEY",
            ) from None

    def _new_session(self) -> Session:
        import boto3.session
        import botocore.session

        core = botocore.session.Session()
        if self.access_key_id is None or self.secret_access_key is None:
            session = boto3.session.Session(botocore_session=core, profile_name=self.profile, region_name=self.region)
            core.get_scoped_config()  # fails here, not at the first request, where the profile does not exist
            return session
        _forget_profile(core)
        return boto3.session.Session(
            self.access_key_id,
            self.secret_access_key.get_secret_value(),
            self.session_token.get_secret_value() if self.session_token else None,
            region_name=self.region,
            botocore_session=core,
        )

    def __copy__(self) -> Credentials:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Credentials:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise SettingsError(
            "Credentials are not pickled, so that no key is written to a file or sent to another process.",
            "call load_settings() in the process that needs them",
        )


def _forget_profile(core: Any) -> None:
    """Keep AWS_PROFILE, which belongs to other programs, out of a session that has keys of its own."""
    from botocore.configprovider import ConstantProvider

    core.get_component("config_store").set_config_provider("profile", ConstantProvider(None))
