"""Whom a failed upload is to be blamed on: the file, for good or perhaps, or what waiting or a person mends."""

from __future__ import annotations

from enum import Enum

from holdfast.artifacts.s3.errors import needs_people
from holdfast.errors import ArtifactError, HoldfastError, InvalidInputError

# So often, at growing pauses, is a file tried that seems to be to blame itself.
TRIES = 5
# What no waiting and no other key changes.
_OF_THE_FILE = {
    *("EntityTooLarge", "KeyTooLongError", "KeyTooLong", "InvalidObjectName", "XMinioInvalidObjectName"),
    *("HTTP 413", "HTTP 414", "ENAMETOOLONG"),
}
# A login, a right, an address or a disk, which every other file needs as well; `needs_people` knows the rest of S3's.
_OF_ALL = {
    *("MethodNotAllowed", "NotSignedUp", "InvalidBucketState", "NoPermission", "NoSpace", "NotMLflow", "Certificate"),
    *("ParamValidation", "HTTP 401", "HTTP 402", "HTTP 403", "HTTP 405", "HTTP 407", "EACCES", "EPERM", "EROFS"),
}

# A right that is not given, or a deed that the store does not know: other requests fare better.
_FORBIDDEN = {
    *("AccessDenied", "AllAccessDisabled", "MethodNotAllowed", "NotImplemented", "NoPermission"),
    *("HTTP 403", "HTTP 405", "HTTP 501", "EACCES", "EPERM", "EROFS"),
}


class Blame(Enum):
    """What is at fault: `file` for good; `perhaps_file`: nothing else is known to be; `elsewhere`: the network, the
    store, the keys, or a setting."""

    FILE = "file"
    PERHAPS_FILE = "perhaps file"
    ELSEWHERE = "elsewhere"


def blame_of(error: HoldfastError) -> Blame:
    """Return what is at fault where an upload has failed.

    Only what is known to be about this very file is given up at once. Servers word the rest as they like: a proxy's
    400 may stand for a certificate, and a 404 for a server that is being set up.
    """
    if isinstance(error, InvalidInputError):
        return Blame.FILE
    if error.retryable or needs_people(error) or not isinstance(error, ArtifactError):
        return Blame.ELSEWHERE
    if error.code in _OF_THE_FILE:
        return Blame.FILE
    if error.code in _OF_ALL or error.code.startswith(("HTTP 3", "HTTP 5")):
        return Blame.ELSEWHERE
    return Blame.PERHAPS_FILE


def is_forbidden(error: HoldfastError) -> bool:
    """Whether a store refuses to delete, as many do on purpose: that is set aside, and holds up no upload."""
    return isinstance(error, ArtifactError) and not error.retryable and error.code in _FORBIDDEN
