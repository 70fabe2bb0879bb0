"""`holdfast s3 policy` and `holdfast s3 bucket-policy`: who may do what with a project's files."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.s3_place import Json, Profile, Where, Yes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.bucket.arns import Place
    from holdfast.settings import Settings


class RoleName(StrEnum):
    """The roles that there are policies for."""

    WRITER = "writer"
    READER = "reader"
    PURGER = "purger"


class PartitionName(StrEnum):
    """AWS's clouds."""

    AWS = "aws"
    CHINA = "aws-cn"
    GOVERNMENT = "aws-us-gov"


KmsKey = Annotated[
    str, typer.Option("--kms-key", help="The KMS key that files are encrypted with; the settings' if not given.")
]


def policy(
    where: Where = "",
    role: Annotated[RoleName, typer.Option("--role", help="What the key is for.")] = RoleName.WRITER,
    bucket: Annotated[str | None, typer.Option("--bucket", help="The bucket, in place of an address.")] = None,
    prefix: Annotated[str | None, typer.Option("--prefix", help="The prefix in it.")] = None,
    kms_key: KmsKey = "",
    partition: Annotated[
        PartitionName | None, typer.Option("--partition", help="AWS's cloud; by the region if not given.")
    ] = None,
    with_posture: Annotated[
        bool | None,
        typer.Option(
            "--with-posture/--without-posture",
            help="Whether the key may ask how the bucket is kept, as `holdfast doctor` does; a writer may by default.",
        ),
    ] = None,
) -> None:
    """Print the IAM policy that a key needs for a project's files, and no more.

    A writer logs runs: it stores, reads and lists. A reader reads and lists. A purger lists and deletes, old versions
    and unfinished uploads included, and reads nothing.

    Example: holdfast s3 policy --role writer > writer.json && aws iam create-policy --policy-name holdfast-writer
    --policy-document file://writer.json
    """
    from dataclasses import replace

    from holdfast.bucket.policy import Needs, role_policy
    from holdfast.cli.output import get_output
    from holdfast.cli.s3_place import place_of
    from holdfast.project import open_project

    settings = open_project().settings
    place = place_of(settings, where, bucket, prefix)
    if partition is not None:
        place = replace(place, partition=partition.value)
    needs = Needs(
        place,
        kms_key or _kms_key_of(settings),
        settings.region,
        settings.s3_put_arguments,
        role is RoleName.WRITER if with_posture is None else with_posture,
    )
    get_output(json=True).data(role_policy(role.value, needs))


def bucket_policy(
    where: Where = "",
    tls: Annotated[bool, typer.Option("--tls/--no-tls", help="Refuse requests without TLS.")] = True,
    encryption: Annotated[
        str | None,
        typer.Option("--encryption", help="aws:kms: refuse files with another encryption; none: do not look at it."),
    ] = None,
    kms_key: KmsKey = "",
    apply: Annotated[bool, typer.Option("--apply", help="Give it to the bucket; else it is printed.")] = False,
    profile: Profile = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Print the bucket's policy with TLS only and the expected encryption in it; with --apply, set it.

    What the bucket's policy says already stays. Files that name no encryption are right: the bucket's own is used
    (holdfast s3 harden --kms-key sets it).

    Example: holdfast s3 bucket-policy --apply
    """
    from holdfast.bucket.bucket_policy import is_same_policy, with_statements
    from holdfast.cli.output import get_output
    from holdfast.cli.s3_place import connect, place_of
    from holdfast.project import open_project

    project = open_project(aws_profile=profile)
    place, connection, out = place_of(project.settings, where), connect(project), get_output(json)
    there = _policy_there(connection, place, apply)
    made = with_statements(there, _statements(project.settings, place, tls, encryption, kms_key, apply))
    changed = not is_same_policy(made, there)
    if not apply:
        get_output(json=True).data(made)
        return
    if changed:
        changed = _set_policy(connection, place, made, there, yes)
    if json:
        out.data({"bucket": place.bucket, "changed": changed, "policy": made})
    elif changed:
        out.line(f"The policy of s3://{place.bucket} is set, and was read back.")
    else:
        out.line(f"The policy of s3://{place.bucket} is unchanged.")


def _statements(
    settings: Settings, place: Place, tls: bool, encryption: str | None, kms_key: str, apply: bool
) -> list[dict[str, Any]]:
    from holdfast.bucket.bucket_policy import encryption_statements, tls_statement
    from holdfast.errors import InvalidInputError

    plain = (settings.s3_endpoint_url or "").lower().startswith("http:")
    if tls and apply and plain:
        raise InvalidInputError(
            "This project reaches the server over plain HTTP: with this policy it would lock itself out.",
            "set MLFLOW_S3_ENDPOINT_URL to the server's https:// address first, or leave that out: --no-tls",
        )
    key = kms_key or _kms_key_of(settings)
    wanted = encryption or ("aws:kms" if key else settings.s3_put_arguments.get("ServerSideEncryption", "none"))
    if encryption not in (None, "none", "aws:kms"):
        raise InvalidInputError(f"--encryption {encryption} is not known.", "write --encryption aws:kms, or none")
    found = [tls_statement(place)] if tls else []
    return [*found, *(encryption_statements(place, key) if str(wanted).startswith("aws:kms") else ())]


def _policy_there(connection: Any, place: Place, apply: bool) -> Mapping[str, Any]:
    from holdfast.bucket.posture import ask_policy
    from holdfast.cli.output import get_output
    from holdfast.errors import ArtifactError

    answer = ask_policy(connection, place.bucket)
    if answer.value is not None:
        return answer.value
    why = f"it takes {answer.action}" if answer.why_not == "denied" else "the server has no bucket policies"
    if apply:
        raise ArtifactError(
            f"The policy of s3://{place.bucket} cannot be read, so nothing is put in its place: {why}.",
            f"run it with keys that are allowed {answer.action} (--profile NAME)"
            if answer.why_not == "denied"
            else "limit who gets in by the server's own means",
        )
    get_output().warn(f"the bucket's policy cannot be read ({why}): what it says already is not in this one")
    return {}


def _set_policy(connection: Any, place: Place, made: Mapping[str, Any], there: Mapping[str, Any], yes: bool) -> bool:
    from holdfast.bucket.bucket_policy import is_same_statement
    from holdfast.bucket.changing import set_policy
    from holdfast.bucket.openness import as_list
    from holdfast.cli.asking import is_sure
    from holdfast.cli.output import get_output

    old = as_list(there.get("Statement"))
    new = [item["Sid"] for item in made["Statement"] if not any(is_same_statement(item, one) for one in old)]
    get_output().hint(f"statements that are added or changed: {', '.join(new)}; {len(old)} are there")
    if not is_sure(f"Set the policy of s3://{place.bucket}?", yes):
        raise typer.Exit(1)
    set_policy(connection, place.bucket, made)
    return True


def _kms_key_of(settings: Settings) -> str:
    return str(settings.s3_put_arguments.get("SSEKMSKeyId") or "")
