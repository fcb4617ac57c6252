"""Names that users give to versions."""

from contextlib import suppress

from registry.durable import sync, write_whole
from registry.layout import Layout


def list_tags(layout: Layout, name: str) -> dict[str, str]:
    """Give the commit of each of a model's tags, also of those whose version was deleted."""
    tags = {}
    for path in sorted(layout.tags(name).glob("[!.]*")):
        # It may be removed at this moment.
        with suppress(FileNotFoundError):
            tags[path.name] = path.read_text(encoding="utf-8").strip()
    return tags


def set_tag(layout: Layout, name: str, tag: str, commit: str) -> None:
    """Let a tag name a version, whatever it named before."""
    write_whole(layout.tags(name) / tag, f"{commit}\n", layout.root)


def remove_tag(layout: Layout, name: str, tag: str) -> None:
    """Let a tag name nothing; its version stays."""
    path = layout.tags(name) / tag
    path.unlink(missing_ok=True)
    if path.parent.exists():
        sync(path.parent)
