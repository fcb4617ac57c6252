"""A process that has imported transformers and nothing of ours: what plain transformers makes of a checkpoint.

It is forked from one that has imported it once; to import it anew would take longer than everything else of a test.
"""

import io
import os
import sys
import traceback
from contextlib import redirect_stdout
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

IMPORTED = ["torch", "transformers.models.auto.modeling_auto", "transformers.models.llama.modeling_llama"]
SECONDS = 120


def run_fresh(script: str, *arguments: str, folder: Path) -> str:
    """Run a script with `arguments` in its `sys.argv`, in `folder`, and give what it prints."""
    context = get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(theirs, script, arguments, folder), daemon=True)
    process.start()
    theirs.close()
    assert ours.poll(SECONDS), "it says nothing"
    printed, error = ours.recv()
    process.join()
    assert error is None, error
    return str(printed)


def _run(said: Connection, script: str, arguments: tuple[str, ...], folder: Path) -> None:
    os.chdir(folder)
    sys.argv[1:] = arguments
    printed, error = io.StringIO(), None
    try:
        with redirect_stdout(printed):
            exec(script, {"__name__": "__main__"})  # noqa: S102  a test's own
    except BaseException:  # noqa: BLE001  whatever it is, the test tells of it
        error = traceback.format_exc()
    said.send((printed.getvalue(), error))
