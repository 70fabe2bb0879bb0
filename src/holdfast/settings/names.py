"""Every setting, with all the names it is known by.

A setting has families of names, the project's own first: a later family is asked only where
no source has a name of an earlier one. Names within a family are aliases of each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True)
class Field:
    """One setting.

    Attributes:
        name: The field of `Settings`, the keyword of `load_settings` and, with hyphens, the key in pyproject.toml.
        families: Environment and `.env` names by family; names in one family are aliases.
        arguments: Further keywords of `load_settings` for the same setting.
        group: The heading it stands under in the `.env` template.
        summary: One line for people.
        example: A value for the templates.
        is_secret: Whether it is part of a credential: never shown, and refused in pyproject.toml.
        is_uri: Whether it is a URI, in which a password may stand.
    """

    name: str
    families: tuple[tuple[str, ...], ...] = ()
    arguments: tuple[str, ...] = ()
    group: str = "Tracking"
    summary: str = ""
    example: str = ""
    is_secret: bool = False
    is_uri: bool = False

    @property
    def key(self) -> str:
        """The key in `[tool.holdfast]`."""
        return self.name.replace("_", "-")

    @property
    def keywords(self) -> tuple[str, ...]:
        """The keywords of `load_settings` that set it."""
        return (self.name, *self.arguments)

    @property
    def variable(self) -> str:
        """Its first name in the environment, or the key in pyproject.toml where it has none."""
        return self.families[0][0] if self.families else self.key


FIELDS = (
    Field(
        "tracking_uri",
        (("MLFLOW_TRACKING_URI",),),
        summary="Where runs and metrics are kept: a server (http://host:5000) or a database (sqlite:///mlflow.db).",
        example="sqlite:///mlflow.db",
        is_uri=True,
    ),
    Field(
        "registry_uri",
        (("MLFLOW_REGISTRY_URI",),),
        summary="Where the model registry is, if not with the runs.",
        example="http://localhost:5000",
        is_uri=True,
    ),
    Field(
        "backend_store_uri",
        (("MLFLOW_BACKEND_STORE_URI",),),
        summary="The tracking server's database.",
        example="postgresql://mlflow@localhost:5432/mlflow",
        is_uri=True,
    ),
    Field(
        "experiment_name",
        (("MLFLOW_EXPERIMENT_NAME",),),
        summary="The experiment that runs belong to.",
        example="my-experiment",
    ),
    Field(
        "run_name_prefix",
        (("MLFLOW_RUN_NAME_PREFIX",),),
        summary="What the names of runs begin with.",
        example="training",
    ),
    Field(
        "tracking_username",
        (("MLFLOW_TRACKING_USERNAME",),),
        summary="User name at the tracking server (MLflow itself reads it from the environment only).",
        example="me",
        is_secret=True,
    ),
    Field(
        "tracking_password",
        (("MLFLOW_TRACKING_PASSWORD",),),
        summary="Password at the tracking server (MLflow itself reads it from the environment only).",
        example="'...'",
        is_secret=True,
    ),
    Field(
        "tracking_token",
        (("MLFLOW_TRACKING_TOKEN",),),
        summary="Token at the tracking server (MLflow itself reads it from the environment only).",
        example="'...'",
        is_secret=True,
    ),
    Field(
        "artifact_root",
        (("MLFLOW_ARTIFACT_ROOT", "MLFLOW_ARTIFACT_URI", "MLFLOW_DEFAULT_ARTIFACT_ROOT"),),
        arguments=("artifact_uri", "default_artifact_root"),
        group="Artifacts",
        summary="Where files go: s3://bucket/prefix or a folder.",
        example="s3://my-bucket/mlflow-artifacts",
        is_uri=True,
    ),
    Field(
        "artifacts_destination",
        (("MLFLOW_ARTIFACTS_DESTINATION",),),
        group="Artifacts",
        summary="Where a tracking server that passes files on keeps them.",
        example="s3://my-bucket/mlflow-artifacts",
        is_uri=True,
    ),
    Field(
        "s3_endpoint_url",
        (("MLFLOW_S3_ENDPOINT_URL",), ("AWS_ENDPOINT_URL_S3",), ("AWS_ENDPOINT_URL",)),
        group="Artifacts",
        summary="An S3 server other than AWS (MinIO, Ceph, SeaweedFS).",
        example="http://localhost:9000",
        is_uri=True,
    ),
    Field(
        "s3_ignore_tls",
        (("MLFLOW_S3_IGNORE_TLS",),),
        group="Artifacts",
        summary="Do not check the S3 server's certificate.",
        example="false",
    ),
    Field(
        "s3_ca_bundle",
        (("AWS_CA_BUNDLE",),),
        group="Artifacts",
        summary="Certificates to check the S3 server's with.",
        example="/etc/ssl/certs/my-ca.pem",
    ),
    Field(
        "s3_upload_extra_args",
        (("MLFLOW_S3_UPLOAD_EXTRA_ARGS",),),
        group="Artifacts",
        summary="Further arguments of every upload, as a JSON object.",
        example='\'{"ServerSideEncryption": "AES256"}\'',
    ),
    Field(
        "s3_addressing_style",
        (("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE", "HOLDFAST_S3_ADDRESSING_STYLE"),),
        group="Artifacts",
        summary="How the bucket stands in the URL: auto, path or virtual.",
        example="auto",
    ),
    Field(
        "s3_checksums",
        (("HOLDFAST_S3_CHECKSUMS",),),
        group="Artifacts",
        summary="Checksums that newer S3 servers verify: auto (where the server knows them), always or never.",
        example="auto",
    ),
    Field(
        "s3_bucket_owner",
        (("MLFLOW_S3_EXPECTED_BUCKET_OWNER",),),
        group="Artifacts",
        summary="The AWS account that must own the bucket; another's is refused.",
        example="123456789012",
    ),
    Field(
        "s3_encryption",
        (("HOLDFAST_S3_ENCRYPTION",),),
        group="Artifacts",
        summary="Encryption by the S3 server: AES256, aws:kms or aws:kms:dsse.",
        example="AES256",
    ),
    Field(
        "s3_kms_key_id",
        (("HOLDFAST_S3_KMS_KEY_ID",),),
        group="Artifacts",
        summary="The KMS key for aws:kms; the bucket's or AWS's own if not set.",
        example="alias/mlflow",
    ),
    Field(
        "s3_storage_class",
        (("HOLDFAST_S3_STORAGE_CLASS",),),
        group="Artifacts",
        summary="The storage class of new files.",
        example="STANDARD_IA",
    ),
    Field(
        "s3_acl",
        (("HOLDFAST_S3_ACL",),),
        group="Artifacts",
        summary="The canned ACL of new files.",
        example="bucket-owner-full-control",
    ),
    Field(
        "s3_tagging",
        (("HOLDFAST_S3_TAGGING",),),
        group="Artifacts",
        summary="Tags of new files, as in a URL's query.",
        example="team=vision&cost=42",
    ),
    Field(
        "transfer_threads",
        (("HOLDFAST_TRANSFER_THREADS",),),
        group="Artifacts",
        summary="How many files, or parts of a large one, are sent or fetched at once.",
        example="16",
    ),
    Field(
        "upload_rate",
        (("HOLDFAST_UPLOAD_RATE",),),
        group="Artifacts",
        summary="How many bytes a second are sent at most, such as 20MB; not limited if not set.",
        example="20MB",
    ),
    Field(
        "transfer_deadline",
        (("HOLDFAST_TRANSFER_DEADLINE",),),
        group="Artifacts",
        summary="How many seconds a transfer is tried again without any progress.",
        example="120",
    ),
    Field(
        "access_key_id",
        (("MLFLOW_AWS_ACCESS_KEY_ID", "MLFLOW_S3_ACCESS_KEY_ID"), ("AWS_ACCESS_KEY_ID",)),
        arguments=("s3_access_key_id", "aws_access_key_id"),
        group="AWS keys of this project",
        summary="Access key (with its secret, from the same source).",
        example="",
        is_secret=True,
    ),
    Field(
        "secret_access_key",
        (("MLFLOW_AWS_SECRET_ACCESS_KEY", "MLFLOW_S3_SECRET_ACCESS_KEY"), ("AWS_SECRET_ACCESS_KEY",)),
        arguments=("s3_secret_access_key", "aws_secret_access_key"),
        group="AWS keys of this project",
        summary="Secret key.",
        example="",
        is_secret=True,
    ),
    Field(
        "session_token",
        (("MLFLOW_AWS_SESSION_TOKEN", "MLFLOW_S3_SESSION_TOKEN"), ("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")),
        arguments=("s3_session_token", "aws_session_token"),
        group="AWS keys of this project",
        summary="Session token, for keys that are lent for a time.",
        example="",
        is_secret=True,
    ),
    Field(
        "aws_profile",
        (("MLFLOW_AWS_PROFILE",),),
        group="AWS keys of this project",
        summary="A profile of ~/.aws/config, instead of keys.",
        example="my-profile",
    ),
    Field(
        "role_arn",
        (("MLFLOW_AWS_ROLE_ARN",),),
        group="AWS keys of this project",
        summary="A role to assume with these credentials.",
        example="arn:aws:iam::123456789012:role/mlflow",
    ),
    Field(
        "external_id",
        (("MLFLOW_AWS_EXTERNAL_ID",),),
        group="AWS keys of this project",
        summary="The external id that the role asks for.",
        example="my-company",
    ),
    Field(
        "role_session_name",
        (("MLFLOW_AWS_ROLE_SESSION_NAME",),),
        group="AWS keys of this project",
        summary="How the role's sessions are called in AWS's logs; holdfast-USER if not set.",
        example="holdfast-training",
    ),
    Field(
        "web_identity_token_file",
        (("MLFLOW_AWS_WEB_IDENTITY_TOKEN_FILE",),),
        group="AWS keys of this project",
        summary="A file with an OpenID Connect token, to assume the role with instead of keys.",
        example="/var/run/secrets/token",
    ),
    Field(
        "sts_endpoint_url",
        (("MLFLOW_AWS_STS_ENDPOINT_URL",),),
        group="AWS keys of this project",
        summary="Where roles are assumed, if not at AWS (MinIO: the S3 server itself).",
        example="http://localhost:9000",
        is_uri=True,
    ),
    Field(
        "region",
        (("MLFLOW_AWS_DEFAULT_REGION", "MLFLOW_AWS_REGION"), ("AWS_DEFAULT_REGION", "AWS_REGION")),
        arguments=("aws_region", "aws_default_region"),
        group="AWS keys of this project",
        summary="AWS region.",
        example="us-east-1",
    ),
    Field(
        "delivery",
        (("HOLDFAST_DELIVERY",),),
        group="Delivery",
        summary="How what is logged gets to the server: journal (never blocks, never lost) or direct.",
        example="journal",
    ),
    Field(
        "journal",
        (("HOLDFAST_JOURNAL",),),
        group="Delivery",
        summary="The folder of the journal; .holdfast/journal in the project if not set.",
        example=".holdfast/journal",
    ),
    Field(
        "journal_limit",
        (("HOLDFAST_JOURNAL_LIMIT",),),
        group="Delivery",
        summary="How large the journal may grow.",
        example="10GiB",
    ),
    Field(
        "journal_full",
        (("HOLDFAST_JOURNAL_FULL",),),
        group="Delivery",
        summary="What a logging call does when the journal has reached its limit: error, or block.",
        example="error",
    ),
    Field(
        "journal_sync",
        (("HOLDFAST_JOURNAL_SYNC",),),
        group="Delivery",
        summary="When the journal is forced to the disk: seconds between, always (each call), or process (never).",
        example="1",
    ),
    Field(
        "journal_keep",
        (("HOLDFAST_JOURNAL_KEEP",),),
        group="Delivery",
        summary="How many days delivered runs stay in the journal, for `holdfast verify`.",
        example="7",
    ),
    Field(
        "exit_wait",
        (("HOLDFAST_EXIT_WAIT",),),
        group="Delivery",
        summary="How many seconds a process waits for delivery at its end, or unlimited.",
        example="10",
    ),
    Field(
        "read_wait",
        (("HOLDFAST_READ_WAIT",),),
        group="Delivery",
        summary="How many seconds a read waits until what this process logged is delivered.",
        example="10",
    ),
    Field(
        "shipper",
        (("HOLDFAST_SHIPPER",),),
        group="Delivery",
        summary="Who delivers: process (of its own), thread, or none (`holdfast sync` later).",
        example="process",
    ),
    Field(
        "workspaces",
        group="AWS keys of this project",
        summary="Credentials by MLflow workspace, for a server that passes files on.",
    ),
    Field(
        "lineage",
        (("HOLDFAST_LINEAGE",),),
        group="Promotion",
        summary="Whether a run of the tracker is tagged with the code's commit, branch and state in git: tags, or off.",
        example="tags",
    ),
    Field(
        "user",
        (("HOLDFAST_USER",),),
        group="Promotion",
        summary="Who you are in the history of models; else the login, git's e-mail address, or the system's user.",
        example="ada@example.com",
    ),
    Field(
        "cache",
        (("HOLDFAST_CACHE",),),
        group="Models",
        summary="The folder where loaded models are kept; holdfast/models in $XDG_CACHE_HOME or ~/.cache if not set.",
        example="~/.cache/holdfast/models",
    ),
    Field(
        "cache_limit",
        (("HOLDFAST_CACHE_LIMIT",),),
        group="Models",
        summary="How much all models that are kept may have together; those not used for longest go first.",
        example="10GiB",
    ),
    Field("promotion", group="Promotion", summary="What a model version must show before it may be promoted."),
    Field(
        "webhooks",
        (("HOLDFAST_WEBHOOKS",),),
        group="Promotion",
        summary="Who is told what happens to models: a list of url, events and models (as JSON outside of pyproject).",
        example="""'[{"url": "https://hooks.example.com/models", "events": ["moved"]}]'""",
    ),
    Field(
        "webhook_secret",
        (("HOLDFAST_WEBHOOK_SECRET",),),
        group="Promotion",
        summary="What events are signed with for webhooks; two with a blank between while one takes the other's place.",
        is_secret=True,
    ),
    Field(
        "gc",
        group="Clean-up",
        summary="Which runs and checkpoints need not be kept, and ages: a table of rules, older-than and grace.",
    ),
)

BY_NAME = {field.name: field for field in FIELDS}
# A profile chosen in `.env`: boto3 itself sees AWS_PROFILE in the environment only.
PROFILE_VARIABLE = "AWS_PROFILE"
VARIABLES = {name: field for field in FIELDS for family in field.families for name in family}
KEYWORDS = {name: field for field in FIELDS for name in field.keywords}
KEYS = {field.key: field for field in FIELDS}


def closest(name: str, known: list[str], least: float = 0.6) -> str:
    """Return the known name that looks most like `name` (by difflib's ratio, `least` or more), or an empty text."""
    found = get_close_matches(name.lower(), [item.lower() for item in known], n=1, cutoff=least)
    return next((item for item in known if found and item.lower() == found[0]), "")
