"""What is in the registry, drawn for a terminal."""

from typing import Any

from rich.table import Table
from rich.text import Text

from cli.display import to_the_minute
from registry.names import SHORTEST_COMMIT


def models_table(models: list[dict[str, Any]]) -> Table:
    """Models, one a row, with when the newest version came: what fits beside a long name into 80 columns."""
    table = _table("name", "newest", "published (UTC)", whole="name")
    for model in models:
        newest = model["versions"][0]
        table.add_row(
            model["name"], newest["commit"][:SHORTEST_COMMIT], to_the_minute(newest["published_at"])
        )
    return table


def versions_table(model: dict[str, Any]) -> Table:
    """Versions of a model that were not deleted, the newest first; their commits are whole, to be pinned."""
    table = _table("commit", "tags", "published (UTC)", "MB", whole="commit")
    for version in model["versions"]:
        table.add_row(
            version["commit"],
            ", ".join(version["tags"]),
            to_the_minute(version["published_at"]),
            _megabytes(version["bytes"]),
        )
    return table


def files_table(files: list[dict[str, Any]]) -> Table:
    """Files of a version, with their digests whole: they are there to be compared."""
    table = _table("file", "MB", "SHA-256", whole="SHA-256")
    for file in files:
        table.add_row(Text(file["path"]), _megabytes(file["bytes"]), file["sha256"])
    return table


def _table(*names: str, whole: str) -> Table:
    """A table whose column `whole` is never cut, however narrow the terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, no_wrap=name == whole, justify="right" if name == "MB" else "left")
    return table


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f}"
