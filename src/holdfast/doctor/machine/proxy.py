"""Whether the way to the project's servers goes through a proxy, and whether that answers.

The variables are those of the process, whatever a caller gives in their place: the clients read nothing else. boto3
heeds HTTP_PROXY and HTTPS_PROXY, by the scheme of the address; obstore and MLflow's client heed ALL_PROXY besides.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies

from holdfast.core.uris import mask_uri, scheme_of
from holdfast.doctor.check import Check, Evidence, Finding, failed, ok, warning
from holdfast.doctor.context import Context

_CONNECT_S = 2.0
_PORTS = {"http": 80, "https": 443}
CUT_OFF = "env.proxy failed"
_DEAD = "env.proxy.dead"
_BYPASS = "NO_PROXY"


class Proxy(NamedTuple):
    """A proxy that an address is reached through.

    Attributes:
        variable: That names it, as it is spelled in the environment.
        url: What that holds, with a scheme; it may hold a password.
    """

    variable: str
    url: str

    @property
    def shown(self) -> str:
        """The variable and the address without a password."""
        return f"{self.variable}={mask_uri(self.url)}"


def proxy_of(url: str) -> Proxy | None:
    """Return the proxy that boto3 reaches an address through; None for none."""
    from botocore.utils import get_environ_proxies

    scheme = scheme_of(url)
    return _named(scheme, get_environ_proxies(url).get(scheme, ""))


def without_proxy(url: str) -> str:
    """Return the setting that keeps an address from being reached through a proxy: what is set, and the host."""
    host = urlsplit(url).hostname or ""
    name = _spelled(_BYPASS)
    return f"{name}={','.join(part for part in (os.environ.get(name, ''), host) if part)}"


def remedy_for(proxy: Proxy, url: str) -> str:
    """Return what mends that an address cannot be reached through a proxy."""
    host = urlsplit(url).hostname or ""
    mend = f"start the proxy or mend {proxy.variable}, or unset it where no proxy is needed"
    around = f"set {without_proxy(url)}"
    return f"{around}: {host} is near, and needs no proxy" if is_near(host) else f"{mend}; or {around} to go around it"


def is_near(host: str) -> bool:
    """Whether a host is this machine, or in a private network."""
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        return address.is_loopback or address.is_private
    return host == "localhost" or host.endswith(".localhost")


def is_cut_off(context: Context, url: str) -> bool:
    """Whether an address is reached through a proxy that does not answer; for checks that come after `env.proxy`."""
    return proxy_of(url) in (context.noted(_DEAD) or ())


def _proxy(context: Context) -> Finding:
    given = {name: value for name, value in getproxies().items() if name in ("http", "https", "all") and value}
    if not given:
        return ok("no proxy is set: the servers are reached directly")
    shown = ", ".join(found.shown for name, value in given.items() if (found := _named(name, value)) is not None)
    through = [(url, found) for url in _urls(context) if (found := proxy_of(url)) is not None]
    dead = {found: why_not for found in dict.fromkeys(found for _, found in through) if (why_not := _why_not(found))}
    context.note(_DEAD, set(dead))
    cut_off = [(url, found) for url, found in through if found in dead]
    if cut_off:
        said = [
            f"{mask_uri(url)} is reached through the proxy {found.shown}, which {dead[found]}" for url, found in cut_off
        ]
        remedies = dict.fromkeys(remedy_for(found, url) for url, found in cut_off)
        return failed("\n".join(said), "\n".join(remedies), Evidence.TRIED)
    return _unheeded(context) or _told(shown, through)


def _told(shown: str, through: list[tuple[str, Proxy]]) -> Finding:
    here = [url for url, _ in through if is_near(urlsplit(url).hostname or "")]
    if here:
        return warning(
            f"{mask_uri(here[0])} is near, and is reached through a proxy all the same ({shown})",
            f"set {without_proxy(here[0])}",
            Evidence.INFERRED,
        )
    if not through:
        return ok(f"none of the project's servers is reached through the proxy that is set ({shown})")
    hosts = ", ".join(dict.fromkeys(urlsplit(url).hostname or "" for url, _ in through))
    return ok(f"{hosts}: reached through a proxy, which answers ({shown})", Evidence.TRIED)


def _unheeded(context: Context) -> Finding | None:
    """Return that obstore would go another way than boto3: by ALL_PROXY, which that does not know."""
    from botocore.utils import get_environ_proxies

    for url in _buckets_urls(context):
        proxies = get_environ_proxies(url)
        found = _named("all", proxies.get("all", ""))
        if found is not None and not proxies.get(scheme_of(url)):
            wanted = f"{scheme_of(url).upper()}_PROXY"
            return warning(
                f"{found.shown} is heeded by obstore, which moves the files, and not by boto3, which does the rest",
                f"set {without_proxy(url)} where {mask_uri(url)} needs no proxy, or {wanted}=http://host:port",
                Evidence.INFERRED,
            )
    return None


def _why_not(proxy: Proxy) -> str:
    """Return why a proxy is of no use; an empty text where something listens there."""
    try:
        parts = urlsplit(proxy.url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return "is no address: its port is no number"
    if parts.scheme not in _PORTS:
        return f"boto3 cannot use: it knows http:// and https://, and no {parts.scheme}://"
    if not parts.hostname:
        return "is no address: it names no host"
    try:
        socket.create_connection((parts.hostname, port), _CONNECT_S).close()
    except OSError as error:
        return f"does not answer: {_few_words(error, parts)}"
    return ""


def _few_words(error: OSError, parts: SplitResult) -> str:
    if isinstance(error, socket.gaierror):
        return f"no address is known for the host {parts.hostname}"
    if isinstance(error, TimeoutError):
        return f"no connection within {_CONNECT_S:g} s"
    return (error.strerror or str(error)).lower()


def _urls(context: Context) -> list[str]:
    """Return the addresses that the project asks something of."""
    tracking = context.settings.tracking_uri
    sts = context.settings.sts_endpoint_url if context.settings.credentials.role else None
    found = [*_buckets_urls(context), sts, tracking if scheme_of(tracking) in _PORTS else None]
    return list(dict.fromkeys(url for url in found if url))


def _buckets_urls(context: Context) -> list[str]:
    if context.bucket is None:
        return []
    return [context.access.endpoint_url or f"https://s3.{context.access.region}.amazonaws.com"]


def _named(scheme: str, value: str) -> Proxy | None:
    if not value:
        return None
    # As botocore does: a proxy without a scheme is asked over HTTP.
    url = value if "://" in value else f"http://{value.removeprefix('//')}"
    return Proxy(_spelled(f"{scheme.upper()}_PROXY"), url)


def _spelled(variable: str) -> str:
    """Return a variable as it is spelled in the environment: what is in small letters goes first."""
    return variable.lower() if os.environ.get(variable.lower()) else variable


CHECKS = (
    Check("env.proxy", "Are the servers reached through a proxy, and does it answer?", _proxy, ("config.settings",)),
)
