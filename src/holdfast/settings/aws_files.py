"""The region of an AWS profile, read from AWS's own files as boto3 would."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from holdfast.core.uris import expand_home
from holdfast.settings.layers import Report


def region_of_profile(profile: str, environ: Mapping[str, str], report: Report) -> tuple[str, Path] | None:
    """Return the profile's region and the configuration file, or None where it has none.

    Args:
        profile: The profile's name.
        environ: Where AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE are looked up.
        report: Takes a notice where a file is malformed.
    """
    config = expand_home(environ.get("AWS_CONFIG_FILE") or "~/.aws/config")
    credentials = expand_home(environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials")
    # Of two regions the credentials file's counts, as in botocore.
    for path, has_plain_names in ((credentials, True), (config, False)):
        region = _profiles(path, has_plain_names, report).get(profile, {}).get("region")
        if isinstance(region, str) and region.strip():
            return region, path
    return None


def _profiles(path: Path, has_plain_names: bool, report: Report) -> dict[str, dict[str, object]]:
    """Return the profiles of one file; in the credentials file they are named plainly, not `profile NAME`."""
    if not os.path.isfile(path):  # unlike Path.is_file, no error where the folder is closed to this user
        return {}
    from botocore.configloader import load_config, raw_config_parse
    from botocore.exceptions import BotoCoreError

    try:
        found = raw_config_parse(str(path)) if has_plain_names else load_config(str(path))["profiles"]
    except (BotoCoreError, OSError):
        report.note(f"{path} cannot be understood; its region is not known.")
        return {}
    return dict(found)
