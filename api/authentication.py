"""Who asks, and whether they may: by an API key, as a bearer token or, in browsers, as a password."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import (
    HTTPAuthorizationCredentials,
    HTTPBasic,
    HTTPBasicCredentials,
    HTTPBearer,
    SecurityScopes,
)

from api.problems import ForbiddenError, TooManyRequestsError, UnauthorizedError
from api.request_rates import RequestRates
from jobs.api_keys import NO_KEY, Scope
from jobs.models import ApiKey
from jobs.store import use_key

SAFE_METHODS = frozenset({"GET", "HEAD"})
OTHER_SITES = frozenset({"cross-site", "same-site"})

_bearer = HTTPBearer(auto_error=False, description="An API key, which `secateur keys create` makes.")
_basic = HTTPBasic(
    auto_error=False, description="For browsers: any user name, an API key as the password; reads only."
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks; `max_queued_jobs` is None for who may queue any number."""

    name: str
    scopes: frozenset[Scope]
    max_queued_jobs: int | None

    @classmethod
    def of(cls, key: ApiKey) -> "Caller":
        return cls(key.name, frozenset(map(Scope, key.scopes)), key.max_queued_jobs)

    @property
    def confined_to(self) -> str | None:
        """Whose jobs alone they may cancel; None if everybody's."""
        return None if Scope.ADMIN in self.scopes else self.name

    def may(self, scope: str) -> bool:
        return not self.scopes.isdisjoint({Scope.ADMIN, scope})


ANYONE = Caller(NO_KEY, frozenset(Scope), max_queued_jobs=None)
"""Who asks without a key, where none is required."""


async def _identify(
    request: Request,
    needed: SecurityScopes,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    basic: Annotated[HTTPBasicCredentials | None, Depends(_basic)],
) -> Caller:
    """Find out who asks, and refuse who may not.

    Raises:
        UnauthorizedError: there is no key, or it is unknown or revoked.
        ForbiddenError: the key lacks a scope.
        TooManyRequestsError: the key is used too often.
    """
    secret = _secret(request, bearer, basic)
    if secret is None:
        if request.app.state.settings.require_api_keys:
            raise _unauthorized("This service asks for an API key.")
        if request.method not in SAFE_METHODS and request.headers.get("Sec-Fetch-Site") in OTHER_SITES:
            raise ForbiddenError(
                "A page of another site sent this. Only pages of this service may, and programs."
            )
        return ANYONE
    key = await run_in_threadpool(use_key, request.app.state.engine, secret)
    if key is None:
        raise _unauthorized("This API key is unknown, or was revoked.")
    _count(request, key)
    caller = Caller.of(key)
    for scope in needed.scopes:
        if not caller.may(scope):
            raise ForbiddenError(
                f"The key {caller.name} has not the scope {scope}. Ask the operator for one made with --scope {scope}."
            )
    return caller


def _secret(
    request: Request, bearer: HTTPAuthorizationCredentials | None, basic: HTTPBasicCredentials | None
) -> str | None:
    if bearer is not None:
        return bearer.credentials
    # A browser adds it to whatever another site's page sends here: it must change nothing.
    if basic is not None and request.method in SAFE_METHODS:
        return basic.password
    return None


def _count(request: Request, key: ApiKey) -> None:
    rates = cast("RequestRates", request.app.state.rates)
    wait = rates.wait_seconds(key.name, key.requests_per_minute)
    if wait:
        raise TooManyRequestsError(
            f"The key {key.name} may ask {key.requests_per_minute} times a minute. Ask again in {wait} seconds.",
            headers={"Retry-After": str(wait)},
        )


def _unauthorized(reason: str) -> UnauthorizedError:
    return UnauthorizedError(
        f"{reason} Send `Authorization: Bearer KEY`; the operator makes keys with `secateur keys create`.",
        # Alone: Chromium asks nobody where another challenge stands in the same line.
        headers={"WWW-Authenticate": 'Basic realm="Secateur", charset="UTF-8"'},
    )


async def _identify_hub_client(
    request: Request,
    needed: SecurityScopes,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Caller:
    """As any caller; but clients of the Hub send their user's token for the Hub also where no key is required."""
    if not request.app.state.settings.require_api_keys:
        return ANYONE
    return await _identify(request, needed, bearer, None)


REFUSALS = (UnauthorizedError, ForbiddenError, TooManyRequestsError)
READ = Security(_identify, scopes=[Scope.READ])
SUBMIT = Security(_identify, scopes=[Scope.SUBMIT])
Submitter = Annotated[Caller, SUBMIT]
HUB_READ = Security(_identify_hub_client, scopes=[Scope.READ])
HubReader = Annotated[Caller, HUB_READ]
