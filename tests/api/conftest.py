"""The real app on a real Postgres and a real Valkey, and a request body that it accepts."""

import json
import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
from fastapi import FastAPI
from httpx import Response
from kombu import Connection
from kombu.simple import SimpleQueue
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from api.application import create_app
from jobs.database import connect
from jobs.models import Job
from jobs.queue import JOBS_QUEUE
from jobs.settings import Settings
from tests.api.pretend_worker import PretendWorker
from tests.api.running import running_api
from tests.conftest import PostgresServer

Json = dict[str, Any]
Change = Callable[..., Json]


class WakeUpQueue:
    """The queue of wake-ups in the broker."""

    def __init__(self, url: str) -> None:
        self._url = url

    def take(self) -> list[str]:
        """Take every message, and give the job ids in them."""
        job_ids: list[str] = []
        with self._open() as messages, suppress(queue.Empty):
            while True:
                job_ids.append(self._take_one(messages, block=False))
        return job_ids

    def wait(self, seconds: float) -> str:
        """Take the message that is there or comes in time, and give its job id."""
        with self._open() as messages:
            return self._take_one(messages, timeout=seconds)

    @contextmanager
    def _open(self) -> Iterator[SimpleQueue]:
        with Connection(self._url) as connection, connection.SimpleQueue(JOBS_QUEUE) as messages:
            yield messages

    @staticmethod
    def _take_one(messages: SimpleQueue, **how: Any) -> str:
        message = messages.get(**how)
        message.ack()
        job_id: str = message.payload[0][0]
        return job_id


class Api:
    """A client that posts what tests post, and sees that a refused request left nothing behind."""

    def __init__(self, client: TestClient, engine: Engine, settings: Settings) -> None:
        self.client = client
        self.engine = engine
        self.settings = settings
        self._wake_ups = WakeUpQueue(settings.redis_url)

    def submit(self, body: Json, **headers: str) -> Response:
        return self._post(json.dumps(body), headers)

    def refused(self, body: Json | str | bytes, status: int = 422, **headers: str) -> Json:
        """Post a job that must be refused, and give the problem."""
        with self.unchanged():
            response = self._post(json.dumps(body) if isinstance(body, dict) else body, headers)
            return problem_of(response, status)

    def take_wake_ups(self) -> list[str]:
        """Take what was published for the requests that were answered, and give the job ids."""
        cast("FastAPI", self.client.app).state.waking.settle()
        return self._wake_ups.take()

    def count(self) -> int:
        with self.engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(Job)) or 0

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """See that nothing is queued and nobody is woken."""
        before = self.count()
        self.take_wake_ups()
        yield
        assert self.count() == before
        assert self.take_wake_ups() == []

    def _post(self, content: str | bytes, headers: dict[str, str]) -> Response:
        return self.client.post(
            "/jobs", content=content, headers={"Content-Type": "application/json"} | headers
        )


def problem_of(response: Response, status: int) -> Json:
    """Check that this is a problem with everything a problem has."""
    problem: Json = response.json()
    assert response.status_code == status, problem
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["type"] == "about:blank" or problem["type"].startswith("/problems/")
    sentences = [problem["detail"]]
    for error in problem["errors"]:
        assert error.keys() == {"field", "value", "reason", "remedy"}
        sentences += [error["reason"], error["remedy"]]
    assert all(sentence.endswith(".") and ".." not in sentence[-2:] for sentence in sentences)
    return problem


@pytest.fixture(scope="session", autouse=True)
def plain_tracebacks() -> None:
    """As `jobs.logs` has them: structlog's own, with all variables of an app, take fifteen seconds each."""
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, plain])


@pytest.fixture(scope="session")
def texts_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("texts")


@pytest.fixture(scope="session")
def roots(models: Path, texts_root: Path) -> tuple[Path, ...]:
    """The folders that jobs may read."""
    return models, texts_root


@pytest.fixture
def texts(texts_root: Path, tmp_path: Path) -> Path:
    """A folder of this test alone, which jobs may read."""
    folder = texts_root / tmp_path.name
    folder.mkdir()
    return folder


@pytest.fixture
def settings(database_url: str, broker_url: str, roots: tuple[Path, ...], tmp_path: Path) -> Settings:
    return Settings(
        database_url=database_url,
        redis_url=broker_url,
        data_dir=tmp_path / "data",
        local_roots=roots,
        require_api_keys=False,
    )


@pytest.fixture
def api(settings: Settings, engine: Engine) -> Iterator[Api]:
    """The app on an empty database."""
    with TestClient(create_app(settings)) as client:
        api = Api(client, engine, settings)
        api.take_wake_ups()
        yield api


@pytest.fixture(scope="module")
def module_settings(
    server: PostgresServer,
    migrated: str,
    broker_url: str,
    roots: tuple[Path, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Settings]:
    """A database for all tests of a module: for those that change nothing, and those that share a process."""
    with server.database(migrated) as url:
        yield Settings(
            database_url=url,
            redis_url=broker_url,
            data_dir=tmp_path_factory.mktemp("data"),
            local_roots=roots,
            require_api_keys=False,
        )


@pytest.fixture(scope="module")
def refusing_api(module_settings: Settings) -> Iterator[Api]:
    """One app for all tests of what is refused."""
    engine = connect(module_settings)
    with TestClient(create_app(module_settings)) as client:
        yield Api(client, engine, module_settings)
    engine.dispose()


@pytest.fixture(scope="module")
def running_url(module_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a real process of the API answers."""
    with running_api(module_settings, tmp_path_factory.mktemp("log") / "api.log") as url:
        yield url


@pytest.fixture
def body(tiny_llama: Path) -> Change:
    """Make a request that is accepted, changed at dotted paths: `body({"calibration.samples": 8})`."""
    accepted: Json = {
        "model": str(tiny_llama),
        "method": "osscar",
        "ratio": 0.5,
        "calibration": {"dataset": "builtin", "samples": 4, "sequence_length": 64},
        "evaluation": {"dataset": "builtin", "samples": 2, "sequence_length": 64},
    }

    def change(changes: Json | None = None) -> Json:
        changed = deepcopy(accepted)
        for path, value in (changes or {}).items():
            *parents, last = path.split(".")
            place = changed
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = value
        return changed

    return change


@pytest.fixture
def worker(engine: Engine) -> PretendWorker:
    return PretendWorker(engine)
