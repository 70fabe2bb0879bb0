"""AWS credentials of one source, kept out of everything that is shown, and boto3 sessions made from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from pydantic import SecretStr

from holdfast.errors import CredentialsError, SettingsError
from holdfast.settings.aws_logs import mask_aws_logs

if TYPE_CHECKING:
    from boto3.session import Session

_SHOWN = 10
Kind = Literal["project", "global", "profile", "chain"]


@dataclass(frozen=True)
class Role:
    """A role that is assumed with other credentials, or with an OpenID Connect token.

    Attributes:
        arn: The role.
        external_id: What its trust policy may ask for.
        session_name: How its sessions are called in AWS's logs.
        token_file: The file with the token, read anew each time the session is renewed.
        sts_endpoint_url: Where it is assumed, if not at AWS.
    """

    arn: str
    external_id: str | None = None
    session_name: str = "holdfast"
    token_file: str | None = None
    sts_endpoint_url: str | None = None


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
        role: What is assumed with them.
    """

    kind: Kind
    origin: str
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: SecretStr | None = field(default=None, repr=False)
    session_token: SecretStr | None = field(default=None, repr=False)
    profile: str | None = None
    region: str | None = None
    role: Role | None = None

    def session(self) -> Session:
        """Return a new boto3 session with these credentials; keep it, for each call makes another.

        It is never boto3's default session. With keys, the environment's `AWS_*` keys and
        `AWS_PROFILE` have no part in it; with `chain`, boto3 searches as it always does.

        Raises:
            CredentialsError: The profile does not exist, or AWS's own files are malformed.
        """
        from botocore.exceptions import BotoCoreError, ProfileNotFound

        mask_aws_logs()
        try:
            return self._new_session() if self.role is None else self._assumed(self.role)
        except BotoCoreError as error:
            raise CredentialsError(
                f"No AWS session can be made from {self.origin}: {error}",
                _other_profiles(str(error.kwargs["profile"]))
                if isinstance(error, ProfileNotFound)
                else "see ~/.aws/config, or set MLFLOW_AWS_ACCESS_KEY_ID and MLFLOW_AWS_SECRET_ACCESS_KEY",
            ) from None

    def _assumed(self, role: Role) -> Session:
        """Return a session of the role; its credentials are had at the first request, and renewed before they end."""
        import boto3.session
        import botocore.session
        from botocore import credentials as lent

        base = self._new_session()
        options: dict[str, Any] = {"RoleSessionName": role.session_name}
        common: dict[str, Any] = {"client_creator": _sts_of(base, role.sts_endpoint_url), "role_arn": role.arn}
        fetcher: Any
        if role.token_file is not None:
            fetcher = lent.AssumeRoleWithWebIdentityCredentialFetcher(
                web_identity_token_loader=lent.FileWebIdentityTokenLoader(role.token_file), extra_args=options, **common
            )
        else:
            options |= {"ExternalId": role.external_id} if role.external_id else {}
            source: Any = base.get_credentials()
            if source is None:
                raise CredentialsError(
                    f"There are no credentials to assume {role.arn} with.",
                    "set MLFLOW_AWS_ACCESS_KEY_ID and _SECRET_ACCESS_KEY, MLFLOW_AWS_PROFILE or "
                    "MLFLOW_AWS_WEB_IDENTITY_TOKEN_FILE",
                )
            fetcher = lent.AssumeRoleCredentialFetcher(source_credentials=source, extra_args=options, **common)
        core = botocore.session.Session()
        _forget_profile(core)
        renewed = lent.DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
        core._credentials = renewed  # type: ignore[attr-defined]  # as botocore's own providers set it
        return boto3.session.Session(botocore_session=core, region_name=self.region)

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

    def handed_over(self) -> dict[str, Any]:
        """Return everything in plain text, for the standard input of a process of one's own that needs the keys."""
        plain = {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in vars(self).items()
        }
        return plain | {"role": None if self.role is None else asdict(self.role)}

    @classmethod
    def taken_over(cls, content: Mapping[str, Any]) -> Credentials:
        """Return the credentials that `handed_over` gave."""
        secrets = {
            name: SecretStr(content[name])
            for name in ("secret_access_key", "session_token")
            if content[name] is not None
        }
        role = Role(**content["role"]) if content["role"] is not None else None
        return cls(**(dict(content) | secrets | {"role": role}))

    def __copy__(self) -> Credentials:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Credentials:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise SettingsError(
            "Credentials are not pickled, so that no key is written to a file or sent to another process.",
            "call load_settings() in the process that needs them",
        )


def _other_profiles(missing: str) -> str:
    """Return what to do about a profile that is not there: the names of those that are."""
    import botocore.session
    from botocore.exceptions import BotoCoreError

    try:
        there = sorted(botocore.session.Session().available_profiles)
    except BotoCoreError:
        there = []
    make = f"`aws configure --profile {missing}` makes it in ~/.aws/config"
    if not there:
        return f"there are no profiles yet: {make}"
    more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
    return f"name one of those in ~/.aws/config: {', '.join(there[:_SHOWN])}{more}; or {make}"


def _sts_of(base: Session, endpoint_url: str | None) -> Any:
    """Return what makes the STS client for a fetcher: of the project's session, whatever the environment holds."""
    make: Any = base.client

    def create(service: str, **arguments: Any) -> Any:
        return make(service, endpoint_url=endpoint_url, **arguments)

    return create


def _forget_profile(core: Any) -> None:
    """Keep AWS_PROFILE, which belongs to other programs, out of a session that has keys of its own."""
    from botocore.configprovider import ConstantProvider

    core.get_component("config_store").set_config_provider("profile", ConstantProvider(None))
