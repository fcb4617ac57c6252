"""Writes `tensor_parallel.json` from the installed transformers: `python -m tests.tensor_parallel.generate`.

A family is taken whose plan makes a description and whose tiny models then keep to the whole contract of the described
families, by both methods. Takes some minutes.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import transformers

from pruning_core.models.tensor_parallel import DATA
from tests.tensor_parallel.derive import NotDerivedError, derive, undescribed

ROOT = Path(__file__).parents[2]
BROKEN = "its tiny model fails the test that "
"""How the reason begins of a family that was described and does not keep to the contract."""


def derive_all() -> tuple[dict[str, Any], dict[str, str]]:
    """The entries of the families whose plans make one, and why others do not."""
    families, refused = {}, {}
    for model_type in undescribed():
        try:
            families[model_type] = derive(model_type)
        except NotDerivedError as reason:
            refused[model_type] = str(reason)
    return families, refused


def write(families: Mapping[str, Any], refused: Mapping[str, str]) -> None:
    data = {
        "transformers": transformers.__version__,
        "families": dict(sorted(families.items())),
        "refused": dict(sorted(refused.items())),
    }
    DATA.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def broken_promises(model_types: Collection[str]) -> dict[str, str]:
    """Hold families of the data to the contract: the first test that fails, of those of which one does."""
    command = [sys.executable, "-m", "pytest", "tests/pruning_core/test_families.py", "-q", "--tb=no"]
    command += [f"--families={','.join(model_types)}", "-k", " or ".join([*model_types, "fresh_process"])]
    # So wide that no summary of a failure is cut short: one is of several families.
    environment = {**os.environ, "COLUMNS": "10000"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    broken: dict[str, str] = {}
    for test, summary in re.findall(r"^(?:FAILED|ERROR) \S+::test_(\w+)(.*)$", done.stdout, re.MULTILINE):
        for model_type in set(re.findall(r"\w+", summary.replace("\\n", " "))) & set(model_types):
            broken.setdefault(model_type, test.replace("_", " "))
    assert done.returncode == 0 or broken, done.stdout + done.stderr
    return broken


def main() -> None:
    families, refused = derive_all()
    write(families, refused)
    broken = broken_promises(families)
    kept = {name: entry for name, entry in families.items() if name not in broken}
    write(kept, refused | {name: BROKEN + test for name, test in broken.items()})


if __name__ == "__main__":
    main()
