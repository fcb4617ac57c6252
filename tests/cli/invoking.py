"""Commands in the tests' own process, which has imported torch already."""

from click.testing import Result
from typer.testing import CliRunner

from cli.main import app


def invoke(*arguments: str, code: int = 0, **env: str | None) -> Result:
    """Run a command that must end with `code`; variables that are None are unset."""
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "DATABASE_URL": None, **env})
    assert done.exit_code == code, done.output
    return done
