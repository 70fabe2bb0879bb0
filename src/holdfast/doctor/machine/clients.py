"""The checks of the programs that talk to S3: boto3, and obstore, which is many times faster."""

from __future__ import annotations

from importlib import import_module

from holdfast.artifacts.s3.fast_store import meddling
from holdfast.doctor.check import Check, Evidence, Finding, failed, ok, warning
from holdfast.doctor.context import Context
from holdfast.doctor.machine.env import numbers_of, pip_install, version_of

# boto3 has been sending and checking S3's newer checksums since this one.
_OLDEST_BOTO3 = (1, 36)
_OBSTORE = (0, 12)


def _boto3(context: Context) -> Finding:
    versions = {name: version_of(name) or "missing" for name in ("boto3", "botocore")}
    named = " and ".join(f"{name} {found}" for name, found in versions.items())
    wrong = [name for name, found in versions.items() if numbers_of(found)[:2] < _OLDEST_BOTO3]
    if wrong:
        remedy = pip_install("--upgrade", "'boto3>=1.36'")
        return failed(f"{named}: Holdfast works with 1.36 or later", remedy, Evidence.TOLD, versions=versions)
    refused = _why_not("boto3.session")
    if refused:
        remedy = pip_install("--force-reinstall", "boto3", "botocore")
        return failed(f"{named} cannot be imported: {refused}", remedy, versions=versions)
    return ok(named, Evidence.TRIED, versions=versions)


def _fast_path(context: Context) -> Finding:
    found = version_of("obstore")
    if found is None or numbers_of(found)[:2] != _OBSTORE:
        remedy = pip_install("'obstore>=0.12,<0.13'")
        said = "obstore is not installed" if found is None else f"obstore {found}: Holdfast works with 0.12"
        return failed(said, remedy, Evidence.TOLD)
    refused = _why_not("obstore.store")
    if refused:
        return failed(
            f"obstore {found} cannot be imported: {refused}", pip_install("--force-reinstall", f"obstore=={found}")
        )
    return _in_use(context, found)


def _in_use(context: Context, found: str) -> Finding:
    names = meddling()
    if names:
        return warning(
            f"obstore {found} would heed {', '.join(names)} of the environment, so files go by boto3, which is slower",
            f"unset {' '.join(names)}; HOLDFAST_S3_ENCRYPTION and HOLDFAST_S3_KMS_KEY_ID say it for this project",
            version=found,
            used=False,
        )
    if context.settings_error is None and context.settings.s3_bucket_owner is not None:
        why = "cannot name the bucket's owner (MLFLOW_S3_EXPECTED_BUCKET_OWNER)"
        return ok(f"obstore {found} {why}, so files go by boto3, which is slower", version=found, used=False)
    return ok(f"files go by obstore {found}", Evidence.TRIED, version=found, used=True)


def _why_not(module: str) -> str:
    """Return why a module cannot be imported; an empty text where it can be."""
    try:
        import_module(module)
    except Exception as error:  # a damaged package may raise anything
        return f"{type(error).__name__}: {error}"
    return ""


CHECKS = (
    Check("boto3.installed", "Is there a boto3 that Holdfast works with?", _boto3),
    Check("boto3.fast_path", "Do files go by obstore, and if not, why?", _fast_path),
)
