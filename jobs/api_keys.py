"""What an API key is made of. The database keeps a digest: nobody can read a key there."""

import hashlib
import re
import secrets
from enum import StrEnum

NO_KEY = "anonymous"
"""Who submits without a key, where none is required."""

KEY_NAME = "^[a-z0-9][a-z0-9._-]{0,62}$"
"""What may name a key, to Python and to Postgres."""

_MARK = "sec_"
_SECRET_BYTES = 32
_PREFIX_LENGTH = len(_MARK) + 8


class Scope(StrEnum):
    """What a key may be used for; `admin` is for everything."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"


def is_key_name(name: str) -> bool:
    return re.fullmatch(KEY_NAME, name) is not None and name != NO_KEY


def make_secret() -> str:
    """Draw a key of 256 random bits."""
    return _MARK + secrets.token_urlsafe(_SECRET_BYTES)


def prefix_of(secret: str) -> str:
    """Give the beginning of a key, by which people tell it from others."""
    return secret[:_PREFIX_LENGTH]


def digest_of(secret: str) -> str:
    """Give what the database knows a key by.

    One round of SHA-256: what makes passwords need slow hashes is that they can be guessed.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
