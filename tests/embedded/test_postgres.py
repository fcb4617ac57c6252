import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text

from cli.embedded import account, postgres
from cli.embedded.account import Account
from cli.embedded.errors import FolderInUseError, ForeignFolderError, ServiceFailedError
from cli.embedded.postgres import EmbeddedPostgres
from cli.embedded.programs import succeeds

ROOT = Path(__file__).parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

START_AND_SELECT = """
import sys
from pathlib import Path
from sqlalchemy import create_engine, text
from cli.embedded.postgres import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1]), durable=False) as postgres:
    with create_engine(postgres.url).connect() as connection:
        print(connection.scalar(text("select current_database()")))
"""


def execute(url: str, statement: str) -> object:
    engine = create_engine(url)
    with engine.begin() as connection:
        result = connection.execute(text(statement))
        value = result.scalar() if result.returns_rows else None
    engine.dispose()
    return value


def test_starts_from_nothing_and_keeps_its_data(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        assert execute(server.url, "select current_database()") == "secateur"
        assert str(execute(server.url, "show server_version")).startswith("18")
        execute(server.url, "create table kept as select 42 as answer")
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        assert execute(server.url, "select answer from kept") == 42


def test_listens_on_its_private_socket_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "6543")
    folder.chmod(0o755)
    with EmbeddedPostgres(folder, durable=False) as server:
        assert execute(server.url, "show listen_addresses") == ""
        assert execute(server.url, "select inet_server_addr()") is None
        assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
        # Should anybody ever switch TCP on.
        by_tcp = "select count(*) from pg_hba_file_rules where type = 'host' and auth_method <> 'reject'"
        assert execute(server.url, by_tcp) == 0


@pytest.mark.parametrize(
    ("name", "moved"), [('space, % and "', True), ('space % "', False), ("long" * 40, True)]
)
def test_any_path_will_do(folder: Path, name: str, moved: bool) -> None:
    with EmbeddedPostgres(folder.rename(folder.with_name(name)), durable=False) as server:
        assert execute(server.url, "select 1") == 1
        assert (server.socket_folder != server.folder) is moved
        assert stat.S_IMODE(server.socket_folder.stat().st_mode) == 0o700
        assert server.socket_folder.stat().st_uid == server.owner


def test_copies_a_template(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as server:
        execute(server.url, "create table migrated (id int)")
        server.create_database('copy "1"', template="secateur")
        server.create_database("empty")
        query = "select to_regclass('migrated') is not null"
        assert execute(server.url_of('copy "1"'), query) is True
        assert execute(server.url_of("empty"), query) is False


def test_starts_again_after_kill_9_with_its_data(folder: Path) -> None:
    server = EmbeddedPostgres(folder, durable=False)
    with server:
        execute(server.url, "create table kept as select 42 as answer")
        server.process.kill()
        server.process.wait()
    pid_file = folder / "cluster" / "postmaster.pid"
    assert pid_file.exists()
    # The number now belongs to somebody else, as after the restart of a container.
    lines = pid_file.read_text().splitlines()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        with server:
            assert execute(server.url, "select answer from kept") == 42
        stranger.kill()


def test_interrupted_initdb_is_made_again(tmp_path: Path) -> None:
    half_made = tmp_path / "postgres" / "cluster.unfinished"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(tmp_path / "postgres", durable=False) as server:
        assert execute(server.url, "select 1") == 1
    assert not half_made.exists()


def test_failing_initdb_says_why_and_leaves_no_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_USER", "pg_reserved")
    with (
        pytest.raises(ServiceFailedError, match="pg_"),
        EmbeddedPostgres(tmp_path / "postgres", durable=False),
    ):
        pass
    assert not (tmp_path / "postgres" / "cluster").exists()


def test_second_server_on_the_same_folder_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "_PREDECESSOR_SECONDS", 0.2)
    with EmbeddedPostgres(folder, durable=False) as server:
        with pytest.raises(FolderInUseError, match=str(server.process.pid)):
            EmbeddedPostgres(folder, durable=False).prepare()
        assert execute(server.url, "select 1") == 1


def test_server_that_cannot_start_shows_its_last_lines(folder: Path) -> None:
    server = EmbeddedPostgres(folder, durable=False)
    server.prepare()
    with (server.folder / "cluster" / "postgresql.conf").open("a") as configuration:
        configuration.write("no_such_setting = 1\n")
    with pytest.raises(ServiceFailedError, match="no_such_setting"), server:
        pass


def test_stops_cleanly_although_a_client_is_connected(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as server:
        client = psycopg.connect(server.url.replace("+psycopg", ""))
    client.close()
    assert server.process.returncode == 0
    assert not (server.folder / "cluster" / "postmaster.pid").exists()


@as_root
def test_as_an_ordinary_user(open_folder: Path) -> None:
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if not succeeds([*become, sys.executable, "-c", "import psycopg"]):
        pytest.skip("another user cannot run this Python")
    shutil.chown(open_folder, 65534, 65534)
    command = [*become, sys.executable, "-c", START_AND_SELECT, str(open_folder / "postgres")]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "secateur\n"), done.stderr
    assert (open_folder / "postgres" / "cluster").stat().st_uid == 65534


@as_root
@pytest.mark.parametrize("first", [account._RENAMED, account._DEMOTED], ids=["renamed", "demoted"])
def test_as_root_either_way_and_then_the_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch, first: Account
) -> None:
    second = account._DEMOTED if first is account._RENAMED else account._RENAMED
    if not (succeeds([*first.prefix, "true"]) and succeeds([*second.prefix, "true"])):
        pytest.skip("this machine knows only one of the two")
    outside = {parent: parent.stat() for parent in folder.parents}
    server = EmbeddedPostgres(folder, durable=False)
    for chosen in (first, second):
        monkeypatch.setattr(postgres, "postgres_account", lambda chosen=chosen: chosen)
        with server:
            execute(server.url, "create table if not exists kept (answer int)")
            execute(server.url, "insert into kept values (42)")
            assert server.folder.stat().st_uid == chosen.owner
    monkeypatch.setattr(postgres, "postgres_account", lambda: first)
    with server:
        assert execute(server.url, "select count(*) from kept") == 2
    for parent, before in outside.items():
        after = parent.stat()
        assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


@as_root
def test_folder_of_somebody_else_is_a_clear_error(open_folder: Path) -> None:
    open_folder.chmod(0o755)
    (open_folder / "postgres").mkdir()
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if not succeeds([*become, sys.executable, "-c", "import psycopg"]):
        pytest.skip("another user cannot run this Python")
    command = [*become, sys.executable, "-c", START_AND_SELECT, str(open_folder / "postgres")]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert ForeignFolderError.__name__ in done.stderr
    assert "--data" in done.stderr


def test_dies_with_its_parent(folder: Path) -> None:
    hanging = START_AND_SELECT + "    print(postgres.process.pid, flush=True)\n    sys.stdin.read()\n"
    parent = subprocess.Popen(
        [sys.executable, "-c", hanging, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout.readline() == "secateur\n"
    assert parent.stdout.readline()
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    # Refused as long as the orphan lives.
    EmbeddedPostgres(folder, durable=False).prepare()
    assert not (folder / ".s.PGSQL.5432").exists()
