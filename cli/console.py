"""What commands print: to people on the standard error or in tables, to scripts as JSON on the standard output."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from api.field_errors import explain
from jobs.problem import Problem, recipe_problem
from pruning_core.errors import BrokenModelError, DiskFullError, RecipeError

EXIT_JOB_DID_NOT_SUCCEED = 1
EXIT_DAMAGED = 1
EXIT_NOT_REPRODUCED = 1
EXIT_REFUSED = 2

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON object for a script; unlike Rich's, never wrapped or coloured."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def refuse(detail: str) -> NoReturn:
    """End the command: it could not do what was asked."""
    err.print(f"[bold red]error:[/] {_plain(detail)}", soft_wrap=True)
    raise typer.Exit(EXIT_REFUSED)


def refuse_problem(problem: Problem) -> NoReturn:
    """End the command with what a problem object says."""
    errors = problem.get("errors") or []
    if not errors:
        refuse(f"{problem['title']}. {problem['detail']}")
    refuse("\n       ".join(f"{e['field']} = {e['value']!r}: {e['reason']} {e['remedy']}" for e in errors))


@contextmanager
def explaining_errors() -> Iterator[None]:
    """End the command with a sentence, not a traceback, when a recipe cannot be carried out."""
    try:
        yield
    except RecipeError as error:
        refuse_problem(recipe_problem(error))
    except (BrokenModelError, DiskFullError) as error:
        refuse(str(error))
    except ValidationError as error:
        refuse_problem(
            {"errors": [explain({**each, "loc": ("body", *each["loc"])}) for each in error.errors()]}
        )


def _plain(text: str) -> str:
    """Keep Rich from reading square brackets as markup."""
    return text.replace("[", "\\[")
