"""The files that leave the repository, read the way their tools read them."""

import re
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/*.md"))]


def tool(name: str, package: str) -> str:
    """Find a program that pip installs beside this Python; where it has no wheel for this machine, skip."""
    program = Path(sys.executable).with_name(name)
    if not program.exists():
        pytest.skip(f"{name} is not installed: pip install {package}")
    return str(program)


def setting_variables() -> dict[str, str]:
    """Map each environment variable of the service to the setting it sets."""
    return {
        str(setting.validation_alias or f"SECATEUR_{name.upper()}"): name
        for name, setting in Settings.model_fields.items()
    }


def fenced(page: Path, language: str) -> list[str]:
    """Give the fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def shell_commands(page: Path, program: str) -> list[list[str]]:
    """Give the commands in a page's `sh` blocks that run `program`, split as a shell would."""
    lines = [
        line for block in fenced(page, "sh") for line in re.sub(r"\\\n\s*", "", _one_line(block)).splitlines()
    ]
    commands = [shlex.split(line, comments=True) for line in lines]
    return [command for command in commands if command and command[0] == program]


def table(page: Path, heading: str) -> list[list[str]]:
    """Give the rows of the first table in a page whose header's first cell is `heading`."""
    lines = iter(page.read_text().splitlines())
    for line in lines:
        if line.startswith(f"| {heading} |"):
            break
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


@dataclass
class Stage:
    """One stage of a Dockerfile: its instructions in order, as (word, arguments)."""

    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        return [arguments for name, arguments in self.instructions if name == word]

    def last(self, word: str) -> str:
        return self.all(word)[-1]

    def copied(self) -> list[tuple[list[str], str]]:
        """Give what comes out of the build context: sources and destination."""
        copies = [shlex.split(arguments) for arguments in self.all("COPY")]
        return [(copy[:-1], copy[-1]) for copy in copies if not copy[0].startswith("--from")]


def dockerfile() -> dict[str, Stage]:
    text = "\n".join(
        line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")
    )
    stages: dict[str, Stage] = {}
    current = Stage("")
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        word, _, arguments = line.partition(" ")
        if word == "FROM":
            base, _, name = arguments.partition(" AS ")
            current = stages[name] = Stage(base)
        elif word:
            current.instructions.append((word, arguments.strip()))
    return stages


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def docker_ignores(path: Path) -> bool:
    """Tell whether `.dockerignore` keeps a path of the repository, or a folder above it, out of the context."""
    relative = path.relative_to(ROOT)
    patterns = [
        line for line in (ROOT / ".dockerignore").read_text().split("\n") if line and not line.startswith("#")
    ]
    assert not any(pattern.startswith("!") for pattern in patterns), "this reader knows no exceptions"
    names = [str(part) for part in (relative, *relative.parents)]
    return any(re.fullmatch(_regex(pattern), name) for pattern in patterns for name in names)


def _one_line(block: str) -> str:
    """Join a quoted JSON body that is spread over lines."""
    return re.sub(r"'[^']*'", lambda quoted: quoted.group().replace("\n", " "), block)


def _regex(pattern: str) -> str:
    parts = re.split(r"(\*\*/|\*|\?)", pattern.strip().strip("/"))
    return "".join(
        {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}.get(part) or re.escape(part) for part in parts
    )
