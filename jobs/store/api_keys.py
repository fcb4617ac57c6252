"""API keys: made, used, revoked."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Engine, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from jobs.api_keys import Scope, digest_of, make_secret, prefix_of
from jobs.database import transaction
from jobs.models import ApiKey

USE_RECORDED_EVERY = timedelta(minutes=1)


class NameTaken(Exception):  # noqa: N818 - says what happened
    """A key of this name exists, or existed: jobs say by its name who submitted them."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is, or was, a key named {name}")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key, and its secret, which nobody can read again."""

    key: ApiKey
    secret: str


def create_key(
    engine: Engine,
    name: str,
    scopes: Collection[Scope],
    *,
    max_queued_jobs: int,
    requests_per_minute: int,
) -> NewKey:
    """Make a key.

    Raises:
        NameTaken: by another key, revoked ones included.
        sqlalchemy.exc.IntegrityError: the name is not one, no scope is given, or a quota is not positive.
    """
    secret = make_secret()
    creation = (
        insert(ApiKey)
        .values(
            name=name,
            prefix=prefix_of(secret),
            digest=digest_of(secret),
            scopes=sorted(set(scopes)),
            max_queued_jobs=max_queued_jobs,
            requests_per_minute=requests_per_minute,
        )
        .on_conflict_do_nothing(index_elements=[ApiKey.name])
        .returning(ApiKey)
    )
    with transaction(engine) as session:
        key = session.scalars(creation).one_or_none()
    if key is None:
        raise NameTaken(name)
    return NewKey(key, secret)


def list_keys(engine: Engine) -> list[ApiKey]:
    """List all keys there are and were, oldest first."""
    with transaction(engine) as session:
        return list(session.scalars(select(ApiKey).order_by(ApiKey.created_at, ApiKey.name)))


def revoke_key(engine: Engine, name: str) -> ApiKey | None:
    """End a key; ending it again changes nothing. None if there is no such key."""
    ending = (
        update(ApiKey)
        .where(ApiKey.name == name)
        .values(revoked_at=func.coalesce(ApiKey.revoked_at, func.clock_timestamp()))
        .returning(ApiKey)
    )
    with transaction(engine) as session:
        return session.scalars(ending).one_or_none()


def use_key(engine: Engine, secret: str) -> ApiKey | None:
    """Find the key with this secret, and note within a minute that it was used; None if it is unknown or revoked."""
    known = ApiKey.digest == digest_of(secret)
    noting = (
        update(ApiKey)
        .where(
            known,
            or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.now() - USE_RECORDED_EVERY),
        )
        .values(last_used_at=func.clock_timestamp())
    )
    with transaction(engine) as session:
        key = session.scalars(select(ApiKey).where(known, ApiKey.revoked_at.is_(None))).one_or_none()
        if key is not None:
            session.execute(noting)
    return key
