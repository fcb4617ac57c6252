"""`secateur keys`, on the database of a service that runs."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.cli.invoking import invoke
from tests.running_service import Service


def keys(*arguments: str, service: Service, code: int = 0) -> Result:
    return invoke("keys", *arguments, "--data", str(service.data_dir), code=code)


def listed(service: Service, name: str) -> dict[str, Any]:
    rows = json.loads(keys("list", "--json", service=service).stdout)
    return next(row for row in rows if row["name"] == name)


def test_a_key_from_its_creation_to_its_end(service: Service) -> None:
    made = keys("create", "ci", "--scope", "read", service=service)
    secret = made.stdout.strip()
    assert "not shown again" in made.stderr
    ask = {"Authorization": f"Bearer {secret}"}
    assert service.http.get("/jobs", headers=ask).status_code == 200
    row = listed(service, "ci")
    assert row["last_used_at"]
    assert (row["scopes"], row["revoked_at"]) == (["read"], None)
    assert secret.startswith(row["prefix"])
    assert secret not in keys("list", service=service).stdout
    assert "ci is revoked" in keys("revoke", "ci", service=service).stdout
    assert service.http.get("/jobs", headers=ask).status_code == 401
    assert listed(service, "ci")["revoked_at"]


def test_commands_send_the_key_of_their_environment(service: Service) -> None:
    secret = json.loads(keys("create", "ops", "--scope", "admin", "--json", service=service).stdout)["key"]
    url = str(service.http.base_url)
    invoke("list", SECATEUR_URL=url, SECATEUR_API_KEY=secret)
    refused = invoke("list", SECATEUR_URL=url, SECATEUR_API_KEY="sec_wrong", code=2)
    assert "SECATEUR_API_KEY" in refused.stderr


@pytest.mark.parametrize("name", ["anonymous", "Ci", "a b", "-x", "a" * 64, "key\n"])
def test_what_is_no_name(name: str, service: Service) -> None:
    assert keys("create", "--", name, service=service, code=2).stderr


def test_a_name_is_taken_for_good(service: Service) -> None:
    keys("create", "once", service=service)
    keys("revoke", "once", service=service)
    assert "Take another name" in keys("create", "once", service=service, code=2).stderr


def test_who_cannot_be_revoked(service: Service) -> None:
    assert "there is no such key" in keys("revoke", "nobody", service=service, code=2).stderr


def test_without_a_service_the_way_to_its_database_is_said(tmp_path: Path) -> None:
    refused = invoke("keys", "list", "--data", str(tmp_path), code=2)
    assert "secateur up" in refused.stderr
    assert "DATABASE_URL" in refused.stderr
    away = "postgresql://nobody@127.0.0.1:1/none"
    assert "does not answer" in invoke("keys", "list", code=2, DATABASE_URL=away).stderr
