"""The address of an object store that the registry is in."""

from urllib.parse import urlsplit

import fsspec

URL_SETTING = "SECATEUR_REGISTRY_URL"
_EXAMPLE = "Write it as s3://bucket/prefix"
_ON_ONE_MACHINE = frozenset({"file", "local", "memory"})


def parse_registry_url(value: str) -> str:
    """Check that checkpoints can be published below an address, as far as that can be told without asking there.

    Raises:
        ValueError: with what is wrong and what to do; never with the address, which may have a password in it.
    """
    parts = urlsplit(value)
    if parts.username or parts.password:
        raise ValueError("the address must have no account in it; the store's own variables name it.")
    if not (parts.scheme and parts.netloc) or parts.query or parts.fragment:
        raise ValueError(f"this is not the address of an object store. {_EXAMPLE}.")
    if parts.scheme in _ON_ONE_MACHINE:
        raise ValueError(
            f"{parts.scheme} is no object store. Leave this unset, and the data folder has the registry."
        )
    try:
        fsspec.get_filesystem_class(parts.scheme)
    except ValueError as error:
        raise ValueError(f"fsspec knows no {parts.scheme}. {_EXAMPLE}.") from error
    except ImportError as error:
        extra = "secateur[s3]" if parts.scheme == "s3" else "the package that fsspec has it from"
        raise ValueError(
            f"what reads and writes {parts.scheme} is not installed. Install {extra}."
        ) from error
    return value.rstrip("/")
