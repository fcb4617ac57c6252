"""What every pruning cost."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from starlette.datastructures import URL

from api.authentication import READ
from api.dependencies import After, Database, Limit
from api.problems import InvalidRequestError, responses
from api.schemas import Result, ResultPage
from jobs import store
from jobs.states import State
from pruning_core.recipe import Name

router = APIRouter(prefix="/results", tags=["results"], dependencies=[READ])

CSV_TYPE = "text/csv"


@router.get(
    "",
    response_model=ResultPage,
    responses={200: {"content": {CSV_TYPE: {}}}, **responses(InvalidRequestError)},
)
def list_results(
    request: Request,
    database: Database,
    after: After,
    model: Annotated[Name | None, Query()] = None,
    method: Annotated[Literal["osscar", "depth"] | None, Query()] = None,
    limit: Limit = 50,
    form: Annotated[Literal["json", "csv"] | None, Query(alias="format")] = None,
    accept: Annotated[str, Header()] = "",
) -> Any:
    """List the results of succeeded jobs, newest submission first, as JSON or, by `Accept` or `?format=csv`, as CSV."""
    page = store.list_jobs(
        database, state=State.SUCCEEDED, model=model, method=method, limit=limit, after=after
    )
    results = [Result.of(job) for job in page.jobs]
    following = page.next.encode() if page.next else None
    if form == "csv" or (form is None and CSV_TYPE in accept):
        onward = request.url.include_query_params(format="csv", cursor=following) if following else None
        return _csv(results, onward)
    return ResultPage(items=results, next=following)


def _csv(results: Sequence[Result], following: URL | None) -> Response:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(Result.model_fields))
    writer.writeheader()
    for result in results:
        row = result.model_dump(mode="json")
        writer.writerow({**row, "cut": json.dumps(row["cut"])})
    headers = {"Link": f'<{following.path}?{following.query}>; rel="next"'} if following else None
    return Response(text.getvalue(), media_type=CSV_TYPE, headers=headers)
