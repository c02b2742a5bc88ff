from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefloop.judging.addresses import check_base_url, checked_addresses, is_public, normalise_allow, parse_base_url
from prefloop.judging.errors import EndpointForbidden, JudgeUnreachable

PUBLIC = "93.184.216.34"


def resolves_to(*addresses: str):
    return lambda host, port: list(addresses)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/v1",
        "http://127.0.0.1:8000/v1",
        "http://127.8.9.1/v1",
        "http://[::1]/v1",
        "http://0.0.0.0:11434/v1",
        "http://[::]/v1",
        "http://169.254.169.254/latest/meta-data",
        "http://[fd00::1]/v1",
        "http://[fe80::1]/v1",
        "http://[fec0::1]/v1",
        "http://[::ffff:10.0.0.1]/v1",
        "http://[::ffff:127.0.0.1]/v1",
        "http://[::127.0.0.1]/v1",
        "http://[64:ff9b::10.0.0.1]/v1",
        "http://[2002:0a00:0001::]/v1",
        "http://10.0.0.5/v1",
        "http://172.16.0.1/v1",
        "http://192.168.1.1/v1",
        "http://100.64.0.1/v1",
        "http://224.0.1.1/v1",
        "http://255.255.255.255/v1",
        "http://localhost/v1",
        "http://localhost./v1",
        "http://LOCALHOST:80/v1",
        "http://2130706433/v1",
        "http://0x7f000001/v1",
        "http://0x7f.1/v1",
        "http://0177.0.0.1/v1",
        "http://127.1/v1",
        "http://127.0.0.1./v1/../x?y",
        "http://user:pass@example.com/v1",
        "http://example.com@127.0.0.1/v1",
        "http://a#@b",
        "http://a/#@b",
        "http://example.com\\@127.0.0.1/v1",
        "http://example.com\t/v1",
        "http://example.com\r\nHost: x/v1",
        " http://example.com/v1",
        "http://①②⑦.⓪.⓪.①/v1",
        "http://127。0。0。1/v1",
        "http://exam%70le.com/v1",
        "http://[fe80::1%25eth0]/v1",
        "http:///v1",
        "http:example.com/v1",
        "//example.com/v1",
        "example.com/v1",
        "http://a..b/v1",
        "http://-a.com/v1",
        "http://example.com:0/v1",
        "http://example.com:99999/v1",
        "file:///etc/passwd",
        "gopher://example.com/",
        "ftp://example.com/v1",
        "unix:///run/docker.sock",
        "javascript:alert(1)",
        "",
    ],
)
def test_an_address_that_is_not_plainly_public_is_refused_when_saved(url: str) -> None:
    with pytest.raises(EndpointForbidden) as refused:
        check_base_url(url, resolver=lambda host, port: ["127.0.0.1" if "localhost" in host else host])
    assert "\n" not in str(refused.value)
    assert "pass@" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/v1",
        "http://93.184.216.34:8000/v1",
        "https://[2606:2800:220:1::1]/v1",
        "HTTP://EXAMPLE.com",
    ],
)
def test_a_public_endpoint_is_accepted(url: str) -> None:
    check_base_url(url, resolver=lambda host, port: [PUBLIC])


@pytest.mark.parametrize("address", ["10.20.30.40", "fd12:3456::7", "127.0.0.53", "100.64.7.8"])
def test_a_refusal_names_the_setting_and_not_where_the_name_leads(address: str) -> None:
    with pytest.raises(EndpointForbidden) as caught:
        check_base_url("https://db.internal.example/v1", resolver=resolves_to(PUBLIC, address))
    said = "db.internal.example:443 is on this machine or a private network; to allow it, "
    assert str(caught.value) == f"{said}add db.internal.example:443 to PREFLOOP_ENDPOINT_ALLOW"


def test_a_host_with_one_private_address_among_public_ones_is_refused() -> None:
    with pytest.raises(EndpointForbidden, match="private network"):
        check_base_url("https://judge.example/v1", resolver=resolves_to(PUBLIC, "10.1.2.3"))


def test_the_refusal_names_the_variable_and_the_entry_that_would_allow_it() -> None:
    with pytest.raises(EndpointForbidden) as refused:
        check_base_url("http://judge.lan:8001/v1", resolver=resolves_to("192.168.0.7"))
    entry = "judge.lan:8001"
    assert f"add {entry} to PREFLOOP_ENDPOINT_ALLOW" in str(refused.value)
    assert check_base_url("http://judge.lan:8001/v1", allow=[entry], resolver=resolves_to("192.168.0.7")).port == 8001


@pytest.mark.parametrize("url", ["http://judge.lan/v1", "http://judge.lan:8002/v1", "http://other.lan:8001/v1"])
def test_an_allowed_endpoint_opens_neither_another_port_nor_another_host(url: str) -> None:
    with pytest.raises(EndpointForbidden):
        check_base_url(url, allow=["judge.lan:8001"], resolver=resolves_to("192.168.0.7"))


def test_allow_entries_are_read_whatever_their_case_or_trailing_dot() -> None:
    assert normalise_allow([" Judge.LAN.:8001", "[::1]:80 "]) == {"judge.lan:8001", "[::1]:80"}
    assert parse_base_url("http://JUDGE.lan.:8001/v1").host_port in normalise_allow(["judge.lan:8001"])
    assert parse_base_url("http://[::1]/v1").host_port in normalise_allow(["[::1]:80"])


@pytest.mark.parametrize("entry", ["judge.lan", "judge.lan:", ":80", "judge.lan:http", "judge.lan:70000", "*"])
def test_an_allow_entry_without_a_proper_port_is_refused(entry: str) -> None:
    with pytest.raises(EndpointForbidden, match="host:port"):
        normalise_allow([entry])


def test_a_name_without_an_address_may_be_saved_but_not_called() -> None:
    def fails(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    check_base_url("https://later.example/v1", resolver=fails)
    with pytest.raises(JudgeUnreachable, match="no such name"):
        checked_addresses("later.example", 443, allow=frozenset(), resolver=fails)


@given(st.ip_addresses(v=4))
def test_an_address_is_as_public_mapped_into_ipv6_as_it_is_plain(address: ipaddress.IPv4Address) -> None:
    assert (
        is_public(f"::ffff:{address}")
        == is_public(str(address))
        == is_public(str(ipaddress.IPv6Address((0x64FF9B << 96) + int(address))))
    )


@given(
    st.sampled_from(
        ["10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"]
    ),
    st.data(),
)
def test_no_address_of_a_private_network_is_public(network: str, data: st.DataObject) -> None:
    assert not is_public(str(data.draw(st.ip_addresses(network=network))))


@pytest.mark.slow
@given(st.text(max_size=40))
def test_whatever_is_typed_is_either_an_address_or_one_clear_line(text: str) -> None:
    for url in (text, f"http://{text}", f"https://{text}:8000/v1"):
        try:
            address = parse_base_url(url)
        except EndpointForbidden as refused:
            told = str(refused)
        else:
            told = address.host_port
            assert address.host == address.host.lower()
            assert 1 <= address.port <= 65535
        assert told.isprintable()
