"""Where `up` listens and which names it lets in."""

from __future__ import annotations

import socket

import pytest

from workers.addresses import PortTaken, addresses, require_free


def test_by_default_only_this_machine_reaches_the_page():
    place = addresses(host="127.0.0.1", port=8000)
    assert (place.bind, place.url) == ("127.0.0.1:8000", "http://127.0.0.1:8000")
    assert set(place.names) == {"127.0.0.1", "localhost", "[::1]"}


def test_a_name_of_this_machine_listens_everywhere_and_is_let_in():
    place = addresses(host="lab.example.org", port=8080)
    assert place.bind == "0.0.0.0:8080"
    assert "lab.example.org" in place.names
    assert "http://lab.example.org:8080" in place.origins


def test_all_addresses_let_in_the_machine_s_own_names_and_no_wildcard():
    place = addresses(host="0.0.0.0", port=8000)
    assert place.bind == "0.0.0.0:8000"
    assert socket.gethostname() in place.names
    assert not {"*", "0.0.0.0"} & set(place.names)


def test_an_ipv6_address_is_bracketed():
    assert addresses(host="::1", port=8000).bind == "[::1]:8000"


def test_a_port_in_use_is_one_clear_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"^port {port} on 127.0.0.1 is in use; .* up --port {port + 1}$"):
            require_free(bind=f"127.0.0.1:{port}")
    require_free(bind=f"127.0.0.1:{port}")
