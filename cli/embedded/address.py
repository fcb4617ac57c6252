import errno
import socket
from ipaddress import ip_address

from cli.embedded.errors import AddressError

DEFAULT_PORT = 8000
_TRIES = 100


def choose_port(host: str, wanted: int | None) -> int:
    """Return the wanted port (0: any free one), or the first free one from 8000 on when none is wanted.

    Raises:
        AddressError: The wanted port is taken, or `host` is no address of this machine.
    """
    if wanted is not None:
        port = _bind(host, wanted)
        if port is None:
            raise AddressError(
                f"Port {wanted} on {host} is taken by another program. Give another one with --port, "
                "or leave --port out and a free one is found."
            )
        return port
    for candidate in range(DEFAULT_PORT, DEFAULT_PORT + _TRIES):
        if _bind(host, candidate) is not None:
            return candidate
    raise AddressError(
        f"All ports from {DEFAULT_PORT} to {DEFAULT_PORT + _TRIES - 1} on {host} are taken. Give one with --port."
    )


def url_of(host: str, port: int) -> str:
    """Return the URL under which this machine itself reaches the API."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bind(host: str, port: int) -> int | None:
    """Bind for a moment, and tell to which port; None if it is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As uvicorn does: connections that are still closing do not take the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            bound: int = probe.getsockname()[1]
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return None
        raise AddressError(f"Cannot listen on {host}, port {port}: {error.strerror}") from error
    return bound
