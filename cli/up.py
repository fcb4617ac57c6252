"""`secateur up`: the whole service on this machine."""

from pathlib import Path
from typing import Annotated

import typer
from platformdirs import user_data_path

from cli.console import refuse

Roots = Annotated[
    list[Path] | None,
    typer.Option("--allow", help="A folder that jobs may read models and texts from; can be given again."),
]


def up(
    data: Annotated[
        Path | None,
        typer.Option(
            envvar="SECATEUR_DATA_DIR",
            help="Where everything is kept.",
            show_default="~/.local/share/secateur",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="Port to listen on.", show_default="8000 or the next free one")
    ] = None,
    allow: Roots = None,
) -> None:
    """Start everything: Postgres, Redis, API, worker and reconciler. Ctrl-C stops all of it."""
    # Here, not above: only this command needs the embedded servers to be installed.
    from cli.embedded.errors import EmbeddedStackError
    from cli.embedded.service import Up, run

    data_dir = data or user_data_path("secateur")
    try:
        run(Up(data_dir=data_dir, host=host, port=port, local_roots=[data_dir / "models", *(allow or [])]))
    except EmbeddedStackError as error:
        refuse(str(error))
