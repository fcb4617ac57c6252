import shutil
import subprocess
from collections.abc import Sequence


def succeeds(command: Sequence[str]) -> bool:
    """Tell by trying whether this machine has a program that takes these options and is allowed to do it.

    Versions do not answer that: busybox has a `setpriv` with fewer options, and containers refuse `unshare`.
    """
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
