"""Where a run keeps what it came from: the names of its tags and files."""

from __future__ import annotations

GIT_COMMIT_TAG = "holdfast.git.commit"
GIT_BRANCH_TAG = "holdfast.git.branch"
# `true` where the working tree held changes or files that are in no commit, `false` where it did not.
GIT_DIRTY_TAG = "holdfast.git.dirty"
GIT_AUTHOR_TAG = "holdfast.git.author"
# The SHA-256 of the uncommitted changes, as `git diff HEAD` writes them.
GIT_DIFF_TAG = "holdfast.git.diff"
# The commits of earlier sittings of a run that was gone on with.
GIT_EARLIER_TAG = "holdfast.git.earlier"
# `holdfast.data.games.csv` = `sha256:…`, a tag for each file or folder that was trained on.
DATA_TAG_PREFIX = "holdfast.data."

LINEAGE_FOLDER = "lineage"
DIFF_FILE = "lineage/uncommitted.diff"
ENVIRONMENT_FILE = "lineage/environment.txt"
REFERENCE_FILE = "reference.csv"

MLFLOW_COMMIT_TAG = "mlflow.source.git.commit"
MLFLOW_BRANCH_TAG = "mlflow.source.git.branch"
MLFLOW_DIRTY_TAG = "mlflow.source.git.dirty"
