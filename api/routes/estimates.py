"""What a job would cut and cost, without running it."""

from typing import Annotated

from fastapi import APIRouter, Body

from api.authentication import SUBMIT
from api.dependencies import ServiceSettings
from api.examples import JOB_REQUESTS
from api.problems import (
    RECIPE_ERRORS,
    BodyTooLargeError,
    InvalidRequestError,
    MalformedJsonError,
    NotJsonError,
    responses,
)
from api.schemas import JobRequest
from pruning_core.estimate import Estimate, estimate
from pruning_core.preflight import Preflight

router = APIRouter(prefix="/estimates", tags=["estimates"], dependencies=[SUBMIT])


@router.post(
    "",
    responses=responses(
        MalformedJsonError, BodyTooLargeError, NotJsonError, InvalidRequestError, *RECIPE_ERRORS
    ),
)
def make_estimate(
    request: Annotated[JobRequest, Body(openapi_examples=JOB_REQUESTS)], settings: ServiceSettings
) -> Estimate:
    """Work out channels, layers, parameters and bytes from the model's config alone."""
    return estimate(
        Preflight(
            request, settings.local_roots, settings.trusted_remote_code, allow_pickle=settings.allow_pickle
        )
    )
