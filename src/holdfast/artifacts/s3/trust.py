"""Which certificates a server is believed with."""

from __future__ import annotations

import ssl

from holdfast.core.uris import mask_uri
from holdfast.errors import ArtifactError
from holdfast.logs import get_logger

_log = get_logger(__name__)


def check_ca_bundle(path: str | None) -> None:
    """Say what is wrong with a file of certificates, which each client would say in words of its own.

    Raises:
        ArtifactError: There is no such file, or it holds no certificates.
    """
    if path is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:  # ssl.SSLError is one
        said = "it holds no certificates" if isinstance(error, ssl.SSLError) else error.strerror or str(error)
        raise ArtifactError(
            f"The certificates in {path} (AWS_CA_BUNDLE) cannot be read: {said}.",
            "set AWS_CA_BUNDLE to a PEM file with the certificates that the server's is signed with, or unset it",
            code="Certificate",
        ) from None


def say_unchecked(endpoint_url: str | None, is_news: bool) -> None:
    """Say once that a server's certificate is not checked, in place of what urllib3 says of every new connection.

    Args:
        endpoint_url: The server; None for AWS.
        is_news: Whether it was not said yet.
    """
    import urllib3

    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    if is_news:
        _log.warning(
            "the S3 server's certificate is not checked (MLFLOW_S3_IGNORE_TLS)", server=mask_uri(endpoint_url or "AWS")
        )
