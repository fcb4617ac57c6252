import socket
from collections.abc import Iterator

import pytest

from cli.embedded import address
from cli.embedded.address import choose_port, url_of
from cli.embedded.errors import AddressError


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_wanted_port_that_is_taken_names_it_and_the_way_out(taken: int) -> None:
    with pytest.raises(AddressError, match=rf"Port {taken} .*--port"):
        choose_port("127.0.0.1", taken)


def test_wanted_port_on_all_addresses_is_taken_too(taken: int) -> None:
    with pytest.raises(AddressError, match=str(taken)):
        choose_port("0.0.0.0", taken)  # noqa: S104  binding everywhere is what is tested


def test_default_port_that_is_taken_gives_the_next_free_one(
    taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address, "DEFAULT_PORT", taken)
    chosen = choose_port("127.0.0.1", None)
    assert taken < chosen < taken + 100
    with socket.create_server(("127.0.0.1", chosen)):
        pass


def test_no_free_port_at_all(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "DEFAULT_PORT", taken)
    monkeypatch.setattr(address, "_TRIES", 1)
    with pytest.raises(AddressError, match="--port"):
        choose_port("127.0.0.1", None)


def test_port_whose_connections_are_still_closing_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()  # the server's side closes first and lingers
    assert choose_port("127.0.0.1", port) == port


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_host_that_is_not_ours(host: str) -> None:
    with pytest.raises(AddressError, match=host):
        choose_port(host, None)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),  # noqa: S104  binding everywhere is what is tested
        ("::", "http://[::1]:8000"),
        ("localhost", "http://localhost:8000"),
    ],
)
def test_url_can_be_opened_on_this_machine(host: str, url: str) -> None:
    assert url_of(host, 8000) == url


def test_port_0_is_any_free_one() -> None:
    port = choose_port("127.0.0.1", 0)
    assert port > 1023
    assert choose_port("127.0.0.1", port) == port
