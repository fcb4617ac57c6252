"""An answer that breaks off is not mistaken for one that is whole."""

from collections.abc import Iterator

import pytest
from fastapi.responses import StreamingResponse
from starlette.testclient import TestClient

from api.application import create_app
from jobs.settings import Settings


def test_a_bug_in_the_middle_of_an_answer_reaches_the_server(settings: Settings) -> None:
    app = create_app(settings)

    @app.get("/half")
    def half() -> StreamingResponse:
        def lines() -> Iterator[str]:
            yield "one\n"
            raise RuntimeError("no second line")

        return StreamingResponse(lines())

    with TestClient(app) as client, pytest.raises(RuntimeError, match="no second line"):
        client.get("/half")
