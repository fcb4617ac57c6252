"""What the log tells of an error."""

import subprocess
import sys

import pytest

FAIL = """
import sys
from jobs import logs
import logging, structlog
logs.configure(sys.argv[1], secret="sec_said")

def fail(key):
    raise RuntimeError("no answer to sec_said")

try:
    fail("sec_planted")
except RuntimeError:
    structlog.get_logger().exception("ours")
    logging.getLogger("uvicorn.error").exception("theirs")
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_tells_where_and_never_what_was_in_the_variables(form: str) -> None:
    done = subprocess.run([sys.executable, "-c", FAIL, form], capture_output=True, text=True, check=True)
    assert done.stderr.count("RuntimeError") == done.stderr.count("no answer") == 2
    assert "sec_planted" not in done.stderr


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_secret_is_left_out_of_whatever_is_logged(form: str) -> None:
    done = subprocess.run([sys.executable, "-c", FAIL, form], capture_output=True, text=True, check=True)
    assert done.stderr.count("no answer to (secret)") == 2
    assert "sec_said" not in done.stderr
