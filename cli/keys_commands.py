"""`secateur keys create | list | revoke`: who may use a service, by whoever can reach its database."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from platformdirs import user_data_path
from sqlalchemy.exc import OperationalError, ProgrammingError

from cli import options
from cli.console import err, out, print_json, refuse
from cli.display import keys_table
from cli.embedded.announcement import Announcement
from jobs import store
from jobs.api_keys import Scope, is_key_name
from jobs.database import Engine, connect
from jobs.models import ApiKey

app = typer.Typer(name="keys", help="Create, list and revoke API keys.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Whose key it is: small letters, digits, '.', '_' and '-'.")]


@app.command("create")
def create(
    name: Name,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What it may be used for; can be given again.", show_default="read and submit"),
    ] = None,
    max_queued: Annotated[int, typer.Option(min=1, help="How many of its jobs may wait at a time.")] = 100,
    requests_per_minute: Annotated[int, typer.Option(min=1, help="How often it may ask.")] = 600,
    data: options.DataFolder = None,
    as_json: options.AsJson = False,
) -> None:
    """Create a key and print it, this once."""
    if not is_key_name(name):
        refuse(
            f"name = {name!r}: a key's name has 1 to 63 small letters, digits, '.', '_' and '-', begins with a "
            "letter or a digit, and is not 'anonymous'."
        )
    with _database(data) as engine:
        try:
            made = store.create_key(
                engine,
                name,
                scope or [Scope.READ, Scope.SUBMIT],
                max_queued_jobs=max_queued,
                requests_per_minute=requests_per_minute,
            )
        except store.NameTaken as error:
            refuse(f"name = {name!r}: {error}. Take another name, so that jobs tell whose they are.")
    if as_json:
        print_json(_described(made.key) | {"key": made.secret})
    else:
        out.print(made.secret, soft_wrap=True)
        err.print(f"This is the key of {name}; it is not shown again.", soft_wrap=True)


@app.command("list")
def list_keys(data: options.DataFolder = None, as_json: options.AsJson = False) -> None:
    """List all keys, revoked ones too; none can be read again."""
    with _database(data) as engine:
        keys = [_described(key) for key in store.list_keys(engine)]
    if as_json:
        print_json(keys)
    else:
        out.print(keys_table(keys) if keys else "No keys.")


@app.command("revoke")
def revoke(name: Name, data: options.DataFolder = None) -> None:
    """End a key at once; its jobs go on."""
    with _database(data) as engine:
        if store.revoke_key(engine, name) is None:
            refuse(f"name = {name!r}: there is no such key. See `secateur keys list`.")
    out.print(f"{name} is revoked.")


@contextmanager
def _database(data: Path | None) -> Iterator[Engine]:
    """The service's database: DATABASE_URL's, or the one of the `secateur up` that runs on the data folder."""
    engine = connect(os.environ.get("DATABASE_URL") or _embedded(data or user_data_path("secateur")))
    try:
        yield engine
    except OperationalError as error:
        refuse(f"the database does not answer: {error.orig}")
    except ProgrammingError as error:
        refuse(f"the database is not this version's ({error.orig}); migrations run when the service starts.")
    finally:
        engine.dispose()


def _embedded(data_dir: Path) -> str:
    service = Announcement.read(data_dir)
    if service is None:
        refuse(f"no service runs on {data_dir}. Start it with `secateur up`, or set DATABASE_URL.")
    if service.database_url is None:
        refuse(
            f"the service on {data_dir} has a database of its own. Set DATABASE_URL to what it was started with."
        )
    return service.database_url


def _described(key: ApiKey) -> dict[str, Any]:
    times = {"created_at": key.created_at, "last_used_at": key.last_used_at, "revoked_at": key.revoked_at}
    return {
        "name": key.name,
        "prefix": key.prefix,
        "scopes": key.scopes,
        "max_queued_jobs": key.max_queued_jobs,
        "requests_per_minute": key.requests_per_minute,
        **{name: time.isoformat(timespec="seconds") if time else None for name, time in times.items()},
    }
