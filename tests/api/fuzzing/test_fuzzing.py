"""Requests that nobody thought of, valid and not, which Schemathesis makes from the API's own description.

It checks every answer: no 5xx, no status, header, type or body that the description does not have, no `Allow` that
leaves a method out, nothing valid refused, nothing invalid accepted, nothing given without a key or for a wrong one.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import store
from jobs.api_keys import Scope
from jobs.database import connect
from jobs.settings import Settings
from tests.api.running import running_api

HERE = Path(__file__).parent
MANY = 10**6


@pytest.fixture(scope="session")
def examples(pytestconfig: pytest.Config) -> str:
    """How many random requests for each operation; of the session, so that nothing is started to skip a test."""
    asked = pytestconfig.getoption("--fuzz")
    if asked is None:
        pytest.skip("takes many minutes; `make fuzz` runs it")
    return str(asked)


@pytest.fixture(scope="module")
def admin_key(module_settings: Settings) -> str:
    engine = connect(module_settings)
    key = store.create_key(engine, "fuzzing", [Scope.ADMIN], max_queued_jobs=MANY, requests_per_minute=MANY)
    engine.dispose()
    return key.secret


@pytest.fixture(scope="module")
def guarded_url(module_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    guarded = module_settings.model_copy(update={"require_api_keys": True})
    with running_api(guarded, tmp_path_factory.mktemp("log") / "api.log") as url:
        yield url


def try_requests(url: str, model: Path, *options: str) -> int:
    """Let Schemathesis try the API, and give how many requests it made."""
    accepted = {
        "model": str(model),
        "calibration": {"dataset": "builtin", "samples": 4, "sequence_length": 64},
        "evaluation": {"dataset": "builtin", "samples": 2, "sequence_length": 64},
    }
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml")]
    command += ["run", f"{url}/openapi.json", "--no-color", *options]
    env = os.environ | {"FUZZING_ACCEPTED": json.dumps(accepted), "NO_PROXY": "*"}
    done = subprocess.run(command, cwd=HERE, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    made = re.search(r"(\d+) generated", done.stdout)
    assert made is not None, done.stdout
    return int(made[1])


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--phases", "fuzzing,stateful", "--max-examples", "15"], id="random"),
        pytest.param(["--phases", "coverage", "--include-method", "GET"], id="boundaries of what is read"),
    ],
)
def test_no_request_of_a_few_hundred_is_answered_wrongly(
    options: list[str], guarded_url: str, admin_key: str, tiny_llama: Path
) -> None:
    made = try_requests(guarded_url, tiny_llama, "--header", f"Authorization: Bearer {admin_key}", *options)
    assert made > 100


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("keys", [True, False])
def test_no_request_of_many_thousands_is_answered_wrongly(
    examples: str, keys: bool, guarded_url: str, running_url: str, admin_key: str, tiny_llama: Path
) -> None:
    if keys:
        made = try_requests(
            *(guarded_url, tiny_llama, "--header", f"Authorization: Bearer {admin_key}"),
            *("--max-examples", examples),
        )
    else:
        made = try_requests(
            running_url, tiny_llama, "--exclude-checks", "ignored_auth", "--max-examples", examples
        )
    assert made > 2000
