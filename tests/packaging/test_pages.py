"""What README and docs show is what the programs take."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml
from pydantic import TypeAdapter

from api import problems
from api.application import create_app
from api.schemas import JobRequest
from cli.main import app
from jobs.settings import Settings
from pruning_core.errors import RecipeError
from pruning_core.models.registry import described_model_types, planned_model_types
from pruning_core.twins.registry import PUBLISHED
from registry.hub.errors import HubError
from tests.packaging.files import PAGES, ROOT, compose, fenced, setting_variables, shell_commands, table, tool

API_PAGE = ROOT / "docs/api.md"
CURLS = [command for page in PAGES for command in shell_commands(page, "curl")]
SECATEURS = [command for page in PAGES for command in shell_commands(page, "secateur")]
ONLY_ON_THE_COMMAND_LINE = {"invalid-recipe", "output-exists"}
ONLY_ON_THE_WORKER = {"unknown-device", *(kind.slug for kind in HubError.__subclasses__())}


def paths() -> dict[str, Any]:
    settings = Settings(
        DATABASE_URL="postgresql://nobody@127.0.0.1:1/none", REDIS_URL="redis://127.0.0.1:1/0"
    )
    described: dict[str, Any] = create_app(settings).openapi()["paths"]
    return described


@pytest.mark.parametrize("command", SECATEURS, ids=" ".join)
def test_commands_parse(command: list[str]) -> None:
    """With their arguments and options, types included; nothing runs."""
    group = typer.main.get_command(app)
    context = group.make_context("secateur", command[1:])
    name, subcommand, arguments = group.resolve_command(context, command[1:])
    context = subcommand.make_context(name, list(arguments), parent=context)
    if isinstance(subcommand, click.Group):
        name, subcommand, arguments = subcommand.resolve_command(context, arguments)
        subcommand.make_context(name, arguments, parent=context)


def test_every_command_is_shown_once_at_least() -> None:
    shown = {command[1] for command in SECATEURS}
    # `make demo` runs the demo.
    named = [*app.registered_commands, *(group.typer_instance.info for group in app.registered_groups)]
    assert shown == {command.name for command in named} - {"demo"}


@pytest.mark.parametrize("command", CURLS, ids=" ".join)
def test_curls_ask_for_what_there_is(command: list[str]) -> None:
    (url,) = [part for part in command if part.startswith("http://127.0.0.1:8000")]
    path = url.removeprefix("http://127.0.0.1:8000").partition("?")[0].replace("JOB_ID", "{job_id}")
    method = command[command.index("-X") + 1] if "-X" in command else "GET"
    assert method.lower() in paths()[path]
    if "-d" in command:
        TypeAdapter(JobRequest).validate_json(command[command.index("-d") + 1])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_of_make_exist(page: Path) -> None:
    known = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert known is not None
    for command in shell_commands(page, "make"):
        assert set(command[1:]) <= set(known[1].split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_is_code(page: Path) -> None:
    for block in fenced(page, "python"):
        compile(block, str(page), "exec")
    for block in fenced(page, "json"):
        json.loads(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    folders = "api|cli|jobs|migrations|pruning_core|registry|tests|worker"
    for name in re.findall(rf"`((?:{folders})/[\w./]+\.py)`", page.read_text()):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_are_named_exist(page: Path) -> None:
    for file, name in re.findall(r"`(tests/[\w./]+\.py)::(\w+)`", page.read_text()):
        assert f"def {name}(" in (ROOT / file).read_text(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_variables_that_are_named_exist(page: Path) -> None:
    of_the_command_line = {"SECATEUR_URL", "SECATEUR_API_KEY"}
    assert set(re.findall(r"SECATEUR_[A-Z_]+", page.read_text())) <= {
        *setting_variables(),
        *of_the_command_line,
    }


def test_the_api_page_lists_every_endpoint() -> None:
    shown = set(re.findall(r"^\| `([A-Z]+) (/\S*)` \|", API_PAGE.read_text(), re.MULTILINE))
    there = {(method.upper(), path) for path, methods in paths().items() for method in methods}
    assert shown == there | {("GET", "/")}


def test_the_api_page_lists_every_problem() -> None:
    shown = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (\d+) \|", API_PAGE.read_text(), re.MULTILINE))
    raised = {kind.slug: str(int(kind.status)) for kind in problems.ProblemError.__subclasses__()}
    recipe = {kind.slug: "422" for kind in _descendants(RecipeError)}
    for slug in ONLY_ON_THE_COMMAND_LINE | ONLY_ON_THE_WORKER:
        recipe.pop(slug, None)
    assert shown == raised | recipe


def test_the_api_page_lists_every_way_a_job_fails() -> None:
    shown = set(re.findall(r"^\| `([a-z-]+)` \| [^\d]", API_PAGE.read_text(), re.MULTILINE))
    source = "".join(
        path.read_text() for folder in ("jobs", "worker") for path in (ROOT / folder).rglob("*.py")
    )
    said = set(re.findall(r'problem\(\s*"([a-z-]+)"', source)) | set(
        re.findall(r'"/problems/([a-z-]+)"', source)
    )
    assert shown == (said - {"internal"}) | ONLY_ON_THE_WORKER


def test_settings_are_documented_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    documented = {row[0].strip("`"): row[1:] for row in table(ROOT / "docs/configuration.md", "variable")}
    assert list(documented) == list(setting_variables())
    for variable, name in setting_variables().items():
        setting = Settings.model_fields[name]
        default, meaning = documented[variable]
        assert meaning == setting.description
        if setting.is_required():
            assert default == "required"
        elif setting.default_factory is not None:
            value = setting.get_default(call_default_factory=True, validated_data={})
            if sys.platform == "linux":
                assert default == f"`{str(value).replace(str(Path.home()), '~')}`"
        else:
            assert default == (f"`{setting.default}`" if setting.default != () else "empty")


def test_the_readme_names_every_family() -> None:
    readme = (ROOT / "README.md").read_text().lower()
    named = [*described_model_types(), *planned_model_types(), *PUBLISHED]
    assert all(f"`{model_type}`" in readme for model_type in named)


def test_the_override_for_a_gpu_is_a_compose_file(tmp_path: Path) -> None:
    (block,) = fenced(ROOT / "docs/configuration.md", "yaml")
    override = tmp_path / "docker-compose.override.yml"
    override.write_text(block)
    program = tool("check-jsonschema", "check-jsonschema")
    subprocess.run([program, "--builtin-schema", "vendor.compose-spec", str(override)], check=True)
    assert yaml.safe_load(block)["services"].keys() <= compose()["services"].keys()


def _descendants(kind: type[RecipeError]) -> Iterator[type[RecipeError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)
