"""Where the client connects, and how much time and how many bytes it gives an answer."""

from __future__ import annotations

import datetime
import gzip
import json
import socket
import ssl
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from prefloop.judging.client import Limits
from prefloop.judging.errors import (
    EndpointForbidden,
    JudgeAnswerTooLong,
    JudgeBadAnswer,
    JudgeUnreachable,
)

ASK = [{"role": "user", "content": "A or B?"}]


# -- where it connects ------------------------------------------------------------------------------------------------


def test_a_loopback_endpoint_that_is_not_allowed_is_never_connected_to(kit: Any) -> None:
    server = kit.serve(kit.http(kit.completion()))
    with pytest.raises(EndpointForbidden, match=f"add 127.0.0.1:{server.port} to PREFLOOP_ENDPOINT_ALLOW"):
        kit.endpoint(server, allow=()).chat(ASK)
    assert server.requests == []


def test_a_name_that_is_public_when_checked_and_private_when_called_is_refused(kit: Any) -> None:
    from prefloop.judging.addresses import check_base_url

    server = kit.serve(kit.http(kit.completion()))
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])

    def resolver(host: str, port: int) -> list[str]:
        return next(answers)

    url = f"http://rebind.example:{server.port}/v1"
    check_base_url(url, resolver=resolver)
    with pytest.raises(EndpointForbidden):
        kit.endpoint(server, base_url=url, allow=(), resolver=resolver).chat(ASK)
    assert server.requests == []


def test_the_checked_address_is_the_one_connected_to_and_the_host_header_stays(kit: Any) -> None:
    server = kit.serve(kit.http(kit.completion()))
    looked_up = []

    def resolver(host: str, port: int) -> list[str]:
        looked_up.append((host, port))
        return ["127.0.0.1"]

    name = f"judge.test:{server.port}"
    kit.endpoint(server, base_url=f"http://{name}/v1", allow=[name], resolver=resolver).chat(ASK)
    assert looked_up == [("judge.test", server.port)]
    assert f"\r\nHost: {name}\r\n".encode() in server.requests[0]


def test_the_next_address_is_tried_when_the_first_does_not_answer(kit: Any) -> None:
    server = kit.serve(kit.http(kit.completion()))
    name = f"judge.test:{server.port}"
    endpoint = kit.endpoint(
        server, base_url=f"http://{name}/v1", allow=[name], resolver=lambda host, port: ["127.0.0.2", "127.0.0.1"]
    )
    assert endpoint.chat(ASK).text == "[[A]]"  # nobody listens on 127.0.0.2


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_a_redirect_to_a_private_address_is_not_followed(kit: Any, status: str) -> None:
    inside = kit.serve(kit.http(kit.completion()))
    server = kit.serve(kit.http("", status=status, Location=f"http://127.0.0.1:{inside.port}/v1/chat/completions"))
    with pytest.raises(JudgeBadAnswer, match="redirects are not followed") as caught:
        kit.endpoint(server, allow=[*server.allow, *inside.allow]).chat(ASK)
    assert not caught.value.per_item
    assert inside.requests == []
    assert len(server.requests) == 1


def test_proxy_variables_are_not_read(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = kit.serve(kit.http(kit.completion("from the proxy")))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    server = kit.serve(kit.http(kit.completion("direct")))
    assert kit.endpoint(server).chat(ASK).text == "direct"
    assert proxy.requests == []


def make_certificate(name: str, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A self-signed certificate for `name`: the server's context, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cadata=certificate.public_bytes(serialization.Encoding.PEM).decode())


def test_tls_is_verified_for_the_name_although_the_address_is_connected_to(kit: Any, tmp_path: Path) -> None:
    server_context, client_context = make_certificate("judge.test", tmp_path)
    asked_for: list[str | None] = []
    server_context.sni_callback = lambda connection, name, context: asked_for.append(name)
    server = kit.serve(kit.http(kit.completion()), tls=server_context)

    def ask(host: str) -> str:
        name = f"{host}:{server.port}"
        options = {"ssl_context": client_context, "resolver": lambda host, port: ["127.0.0.1"]}
        return kit.endpoint(server, base_url=f"https://{name}/v1", allow=[name], **options).chat(ASK).text

    assert ask("judge.test") == "[[A]]"
    with pytest.raises(JudgeUnreachable, match="certificate"):
        ask("other.test")
    assert asked_for[:2] == ["judge.test", "other.test"]
    assert len(server.requests) == 1


# -- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_endpoint_that_never_answers_is_asked_a_bounded_number_of_times(kit: Any) -> None:
    server = kit.serve(lambda connection, stop: stop.wait(20) and None)
    endpoint = kit.endpoint(server, limits=Limits(read_seconds=0.1, attempts=3))
    with pytest.raises(JudgeUnreachable, match="in time") as caught:
        endpoint.chat(ASK)
    assert caught.value.per_item
    assert len(server.requests) == 3
    assert len(kit.waits) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"]
)
def test_a_byte_now_and_then_does_not_outlast_the_deadline(kit: Any, said: bytes) -> None:
    def drip(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(said)
        while not stop.wait(0.05):
            connection.sendall(b"a")

    endpoint = kit.endpoint(kit.serve(drip), limits=Limits(read_seconds=5, total_seconds=0.5))
    began = time.monotonic()
    with pytest.raises(JudgeUnreachable, match="in time"):
        endpoint.chat(ASK)
    assert time.monotonic() - began < 3


@pytest.mark.slow
def test_a_silent_endpoint_does_not_outlast_the_deadline_however_patient_a_read_is(kit: Any) -> None:
    server = kit.serve(lambda connection, stop: stop.wait(20) and None)
    began = time.monotonic()
    with pytest.raises(JudgeUnreachable, match="in time"):
        kit.endpoint(server, limits=Limits(read_seconds=15, total_seconds=0.3)).chat(ASK)
    assert time.monotonic() - began < 5


def test_an_answer_of_ten_megabytes_is_cut_and_refused(kit: Any) -> None:
    server = kit.serve(kit.http(kit.completion("x" * 10_000_000)))
    with pytest.raises(JudgeAnswerTooLong) as caught:
        kit.endpoint(server, limits=Limits(max_bytes=1_000_000)).chat(ASK)
    assert 0 < len(caught.value.excerpt) <= 2_000
    assert len(server.requests) == 1


def test_an_endless_stream_is_left(kit: Any) -> None:
    def forever(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while not stop.is_set():
            connection.sendall(b"[" * 65536)

    with pytest.raises(JudgeAnswerTooLong):
        kit.endpoint(kit.serve(forever)).chat(ASK)


@pytest.mark.slow
def test_a_gzip_bomb_is_never_inflated(kit: Any) -> None:
    bomb = gzip.compress(b"0" * 100_000_000)
    server = kit.serve(kit.http(bomb, Content_Encoding="gzip"))
    endpoint = kit.endpoint(server, limits=Limits(max_bytes=1_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(JudgeAnswerTooLong):
            endpoint.chat(ASK)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_modest_gzip_answer_is_read(kit: Any) -> None:
    body = gzip.compress(json.dumps(kit.completion("fine")).encode())
    assert kit.endpoint(kit.serve(kit.http(body, Content_Encoding="gzip"))).chat(ASK).text == "fine"


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip"])
def test_an_encoding_that_was_not_asked_for_is_refused(kit: Any, encoding: str) -> None:
    with pytest.raises(JudgeBadAnswer, match="encoding"):
        kit.endpoint(kit.serve(kit.http(b"xx", Content_Encoding=encoding))).chat(ASK)
