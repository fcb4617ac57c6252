import stat
from pathlib import Path

import pytest
from kombu import Connection

from cli.embedded.valkey import EmbeddedValkey


@pytest.mark.parametrize("name", ["valkey", "with space and %", "long" * 40])
def test_answers_through_the_url_that_celery_gets(tmp_path: Path, name: str) -> None:
    with EmbeddedValkey(tmp_path / name) as server:
        with Connection(server.url) as connection:
            client = connection.default_channel.client
            assert client.ping() is True
            assert client.config_get("port") == {"port": "0"}
        assert stat.S_IMODE(server.socket_folder.stat().st_mode) == 0o700
    assert not server.is_ready()


def test_keeps_nothing_over_a_restart(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path / "valkey")
    for _ in range(2):
        with server, Connection(server.url) as connection:
            client = connection.default_channel.client
            assert client.get("wake-up") is None
            client.set("wake-up", "job")


def test_starts_again_after_kill_9(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path / "valkey")
    with server:
        server.process.kill()
        server.process.wait()
    with server:
        assert server.is_ready()
