"""Says behind the tests which families kept to the contract, by which method."""

import re
from typing import Any

from pruning_core.models.registry import FAMILIES, planned_model_types
from pruning_core.models.tensor_parallel import PLANNED

CONTRACT = re.compile(r"test_families\.py::.*\[(?P<parameters>[^\]]+)\]$")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    verdicts = {
        (parameters.group("parameters"), outcome)
        for outcome in ("passed", "failed", "error")
        for report in terminalreporter.stats.get(outcome, ())
        if (parameters := CONTRACT.search(report.nodeid))
    }
    if not verdicts:
        return
    terminalreporter.section("model families, by the contract of tests/pruning_core/test_families.py")
    described = [(model_type, family.name) for family in FAMILIES for model_type in family.model_types]
    planned = [(model_type, PLANNED[model_type].name) for model_type in planned_model_types()]
    _write(terminalreporter, described, verdicts)
    terminalreporter.write_line(
        "known by their tensor-parallel plans (pytest --every-family runs all of them):"
    )
    _write(terminalreporter, planned, verdicts)


def _write(terminalreporter: Any, families: list[tuple[str, str]], verdicts: set[tuple[str, str]]) -> None:
    for model_type, name in families:
        found = {method: _verdict(model_type, method, verdicts) for method in ("osscar", "depth")}
        columns = "   ".join(f"{method} {verdict:9}" for method, verdict in found.items())
        terminalreporter.write_line(f"{model_type:12} {columns}  {name}")


def _verdict(model_type: str, method: str, verdicts: set[tuple[str, str]]) -> str:
    """What the tests of this family said that were about this method, or about both."""
    other = {"osscar": "depth", "depth": "osscar"}[method]
    said = [
        (words, outcome)
        for parameters, outcome in verdicts
        if model_type in (words := parameters.split("-")) and other not in words
    ]
    if not any(method in words for words, _ in said):
        return "not run"
    return "passed" if all(outcome == "passed" for _, outcome in said) else "FAILED"
