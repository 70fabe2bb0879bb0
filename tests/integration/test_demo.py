"""`holdfast demo credentials`: two keys, two buckets, and who reaches which."""

from __future__ import annotations

import json
import subprocess
import sys

from holdfast.demo.credentials import GLOBAL_BUCKET, PROJECT_BUCKET


def test_each_key_reaches_its_own_bucket_only() -> None:
    command = [sys.executable, "-m", "holdfast", "demo", "credentials", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    seen = {(item["situation"], item["who"], item["bucket"]): item for item in json.loads(done.stdout)}
    assert len(seen) == 3 * 7
    assert all(item["is_right"] for item in seen.values())
    both = {(who, bucket): item["seen"] for (situation, who, bucket), item in seen.items() if situation == "both keys"}
    assert both == {
        ("boto3", GLOBAL_BUCKET): "stored",
        ("boto3", PROJECT_BUCKET): "AccessDenied",
        ("holdfast", GLOBAL_BUCKET): "AccessDenied",
        ("holdfast", PROJECT_BUCKET): "stored",
        ("mlflow", GLOBAL_BUCKET): "AccessDenied",
        ("mlflow", PROJECT_BUCKET): "stored",
        ("environment", ""): "unchanged",
    }
    keys = {item["keys"] for (situation, who, _), item in seen.items() if situation == "both keys" and who != "boto3"}
    assert all("MLFLOW_AWS_*" in key and "…" in key for key in keys - {""})
    refused = {item["seen"] for (situation, who, _), item in seen.items() if "wrong" in situation and who == "holdfast"}
    assert refused == {"SignatureDoesNotMatch"}
