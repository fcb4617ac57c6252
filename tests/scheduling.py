"""Which tests run in one process, and in which order, where several processes run them."""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

TOGETHER = {
    "tests/cli/test_commands.py": "service",
    "tests/cli/test_keys.py": "service",
    "tests/end_to_end/test_jobs.py": "service",
}
"""Files that share fixtures of several processes each, which are to be there once. All others keep to themselves."""


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist says nothing of its types
    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "faults" if file.startswith("tests/faults/") else TOGETHER.get(file, file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduling:
    return _Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what waits longest, lest one process end with it while the others have nothing left to do."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/faults/"))
