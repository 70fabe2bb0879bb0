"""What the fault proxy does to bodies, shown with a server that verifies what arrives; and TLS in front of it."""

from __future__ import annotations

import http.client
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from holdfast.testing import FaultProxy, ServerCertificate, SwiftAccess, make_certificate
from holdfast.testing._served import make_client

botocore = pytest.importorskip("botocore.exceptions")
pytest.importorskip("swift")
requests = pytest.importorskip("requests")

SIZE = 3 << 20
BODY = os.urandom(SIZE)


@dataclass(frozen=True)
class Place:
    """A bucket behind a proxy, and requests whose fate does not depend on a client's retries."""

    proxy: FaultProxy
    client: Callable[[FaultProxy], object]
    bucket: str

    def put(self, body: bytes = BODY, key: str = "a") -> int:
        """Store an object in one request; return the status."""
        return int(requests.put(self._signed("put_object", key), data=body, timeout=30).status_code)

    def get(self, key: str = "a") -> bytes:
        """Fetch an object in one request."""
        answer = requests.get(self._signed("get_object", key), timeout=30)
        assert answer.status_code == 200
        return bytes(answer.content)

    def _signed(self, operation: str, key: str) -> str:
        client = self.client(self.proxy)
        url = client.generate_presigned_url(operation, {"Bucket": self.bucket, "Key": key})  # type: ignore[attr-defined]
        return str(url)


@pytest.fixture
def place(swift_server: SwiftAccess, unique: str) -> Iterator[Place]:
    bucket = f"b-{unique[-8:]}"
    account = swift_server.add_account(unique, [bucket])
    with FaultProxy(swift_server.endpoint_url) as proxy:
        yield Place(proxy, lambda proxy: replace(swift_server, endpoint_url=proxy.url).client(account), bucket)


def test_large_bodies_pass_both_ways(place: Place) -> None:
    assert place.put() == 200
    assert place.get() == BODY
    assert place.proxy.traffic("PUT").sent_bytes == place.proxy.traffic("GET").received_bytes == SIZE
    assert (place.proxy.traffic("PUT").bodies, place.proxy.traffic("GET").bodies) == (1, 0)
    assert place.proxy.traffic().requests == place.proxy.count == 2
    place.proxy.forget()
    assert (place.proxy.traffic().requests, place.proxy.passed) == (0, [])


def test_a_body_that_waits_to_be_asked_for_passes(place: Place) -> None:
    """boto3 sends `Expect: 100-continue` with each body."""
    client = place.client(place.proxy)
    took_s = []
    for _ in range(3):
        started = time.monotonic()
        client.put_object(Bucket=place.bucket, Key="a", Body=BODY)  # type: ignore[attr-defined]
        took_s.append(time.monotonic() - started)
    assert min(took_s) < 0.9  # after 1 s it would have sent it unasked
    assert place.get() == BODY


def test_a_body_that_is_refused_unseen_is_not_sent(place: Place) -> None:
    place.proxy.answer(503, {"Retry-After": "0"})
    client = place.client(place.proxy)
    with pytest.raises(botocore.ClientError, match="503"):
        client.put_object(Bucket=place.bucket, Key="a", Body=BODY)  # type: ignore[attr-defined]
    assert place.proxy.traffic() == place.proxy.traffic("PUT")
    assert place.proxy.traffic().sent_bytes == 0


def test_a_request_is_cut_in_its_body(place: Place) -> None:
    place.proxy.cut_requests(SIZE // 2, times=1)
    with pytest.raises(requests.ConnectionError):
        place.put()
    traffic = place.proxy.traffic("PUT")
    assert (traffic.bodies, traffic.requests) == (0, 0)
    assert 0 < traffic.sent_bytes <= SIZE // 2
    assert place.proxy.happened == 1
    assert place.put() == 200  # it was to happen once
    assert place.get() == BODY


def test_an_answer_is_cut_in_its_body(place: Place) -> None:
    assert place.put() == 200
    place.proxy.cut_answers(SIZE // 2)
    for _ in range(2):
        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="Connection broken"):
            place.get()
    assert place.put(b"short", "b") == 200
    assert place.get("b") == b"short"  # no body to be cut there
    place.proxy.pass_on()
    assert place.get() == BODY


def test_a_flipped_byte_of_a_request_reaches_the_server(place: Place) -> None:
    place.proxy.flip_in_requests(SIZE - 1)
    assert place.put() == 200  # nothing was claimed about it
    place.proxy.pass_on()
    assert place.get() == BODY[:-1] + bytes([BODY[-1] ^ 0xFF])
    place.proxy.flip_in_requests(SIZE)
    assert place.put() == 200
    assert place.get() == BODY


def test_a_server_that_verifies_refuses_a_flipped_byte(place: Place) -> None:
    place.proxy.flip_in_requests(0, times=1)
    client = place.client(place.proxy)
    with pytest.raises(botocore.ClientError, match=r"XAmzContentSHA256Mismatch|BadDigest"):
        client.put_object(Bucket=place.bucket, Key="a", Body=BODY)  # type: ignore[attr-defined]
    assert place.proxy.happened == 1


@pytest.mark.parametrize("at", [0, 65535, 65536, SIZE - 1])
def test_a_flipped_byte_of_an_answer(at: int, place: Place) -> None:
    assert place.put() == 200
    place.proxy.flip_in_answers(at, times=1)
    assert [index for index, (a, b) in enumerate(zip(place.get(), BODY, strict=True)) if a != b] == [at]
    assert place.get() == BODY


def test_bodies_are_slow_both_ways(place: Place) -> None:
    place.proxy.slow(2 * SIZE)
    for call in (place.put, place.get):
        started = time.monotonic()
        call()
        assert 0.4 < time.monotonic() - started < 5


def test_bodies_in_chunks_keep_their_framing(place: Place) -> None:
    address = place.proxy.address
    place.proxy.flip_in_requests(100_000)
    url = place._signed("put_object", "chunked").partition(address)[2]
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("PUT", url, iter([BODY[:70_000], BODY[70_000:200_000]]), {"Content-Length": "200000"})
    assert connection.getresponse().status == 200
    connection.close()
    expected = bytearray(BODY[:200_000])
    expected[100_000] ^= 0xFF
    place.proxy.pass_on()
    assert place.get("chunked") == bytes(expected)


def test_a_burst_of_503_says_when_to_come_back(place: Place) -> None:
    place.proxy.fail_next(2, 503, {"Retry-After": "3"}, "<Error><Code>SlowDown</Code></Error>")
    for _ in range(2):
        answer = requests.put(place._signed("put_object", "a"), data=BODY, timeout=30)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "3")
        assert "SlowDown" in answer.text
    assert place.put() == 200


def test_many_bodies_at_once(place: Place) -> None:
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda at=at: statuses.append(place.put(key=f"k{at}"))) for at in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 6
    assert place.proxy.traffic("PUT").sent_bytes == 6 * SIZE


class TestTls:
    def test_who_trusts_the_authority_is_served(
        self, swift_server: SwiftAccess, server_certificate: ServerCertificate, unique: str
    ) -> None:
        bucket = f"b-{unique[-8:]}"
        account = swift_server.add_account(unique, [bucket])
        with FaultProxy(swift_server.endpoint_url, tls=server_certificate) as proxy:
            assert proxy.url.startswith("https://")
            for url in (proxy.url, proxy.url.replace("127.0.0.1", "localhost")):
                client = make_client("s3", url, account, ca_bundle=str(server_certificate.ca_bundle))
                client.put_object(Bucket=bucket, Key="a", Body=BODY)  # in chunks with a trailer, over TLS
                assert client.get_object(Bucket=bucket, Key="a")["Body"].read() == BODY
            proxy.cut_answers(SIZE // 2)
            answer = client.get_object(Bucket=bucket, Key="a")["Body"]
            with pytest.raises((botocore.ResponseStreamingError, botocore.ReadTimeoutError, ssl.SSLError)):
                answer.read()

    def test_strangers_to_the_authority_refuse(
        self, swift_server: SwiftAccess, server_certificate: ServerCertificate, tmp_path: Path
    ) -> None:
        other = make_certificate(tmp_path / "other").ca_bundle
        with FaultProxy(swift_server.endpoint_url, tls=server_certificate) as proxy:
            for trusted in (True, str(other)):
                with pytest.raises(requests.exceptions.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
                    requests.get(proxy.url, verify=trusted, timeout=10)
            assert requests.get(proxy.url, verify=str(server_certificate.ca_bundle), timeout=10).status_code == 404

    def test_an_ended_certificate_is_refused(self, swift_server: SwiftAccess, tmp_path: Path) -> None:
        ended = make_certificate(tmp_path, valid_days=-1)
        with (
            FaultProxy(swift_server.endpoint_url, tls=ended) as proxy,
            pytest.raises(requests.exceptions.SSLError, match="expired"),
        ):
            requests.get(proxy.url, verify=str(ended.ca_bundle), timeout=10)
        assert ended.key.stat().st_mode & 0o077 == 0
