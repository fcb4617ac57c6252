"""Under whose name Postgres runs. It refuses root, and we make no user for it."""

import os
from dataclasses import dataclass
from functools import cache

from cli.embedded.errors import RootRefusedError
from cli.embedded.programs import succeeds

NOBODY = 65534


@dataclass(frozen=True)
class Account:
    """A command prefix, and the user id that then has to own the files."""

    prefix: tuple[str, ...]
    owner: int


# A user namespace only renames root: files stay root's, and no other user of the machine can touch them.
_RENAMED = Account(("unshare", "-U", f"--map-user={NOBODY}", f"--map-group={NOBODY}"), owner=0)

# Container runtimes refuse user namespaces. Then root really becomes nobody, keeping the one capability
# without which neither a data folder nor an installation below a 0700 home folder could be reached.
_DEMOTED = Account(
    (
        "setpriv",
        f"--reuid={NOBODY}",
        f"--regid={NOBODY}",
        "--clear-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
    ),
    owner=NOBODY,
)


def postgres_account() -> Account:
    """Find out how Postgres may run here.

    Raises:
        RootRefusedError: We are root and can neither rename nor demote ourselves.
    """
    if os.geteuid() != 0:
        return Account((), owner=os.geteuid())
    return _account_for_root()


@cache
def _account_for_root() -> Account:
    for account in (_RENAMED, _DEMOTED):
        if succeeds([*account.prefix, "true"]):
            return account
    raise RootRefusedError(
        "Postgres does not run as root, and neither `unshare` nor `setpriv` (util-linux) may change that here. "
        "Run `secateur up` as an ordinary user, or set DATABASE_URL to a Postgres of your own."
    )
