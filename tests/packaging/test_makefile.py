"""`make help` says what there is."""

import re
import subprocess

from tests.packaging.files import ROOT, tool

MAKEFILE = (ROOT / "Makefile").read_text()


def targets() -> list[str]:
    declared = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert declared is not None
    return declared[1].split()


def test_help_says_what_each_target_does() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    said = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert sorted(said) == sorted(targets())
    assert all(said.values())


def test_help_is_what_make_says_when_not_asked() -> None:
    assert re.search(r"^\.DEFAULT_GOAL := help$", MAKEFILE, re.MULTILINE)


def test_pre_commit_takes_its_config_and_its_local_hooks_are_the_checks_of_make() -> None:
    config = ROOT / ".pre-commit-config.yaml"
    subprocess.run([tool("pre-commit", "pre-commit"), "validate-config", str(config)], check=True)
    hooks = set(re.findall(r"entry: \.venv/bin/([\w-]+)", config.read_text()))
    recipe = MAKEFILE.partition("\ncheck:")[2].partition("\n\n")[0]
    assert hooks == set(re.findall(r"\$\(BIN\)/([\w-]+)", recipe))
