"""A minute of `make soak`, most of it with faults."""

import secrets
from pathlib import Path

from tests.faults.soak.run import Plan, soak


def test_a_minute_in_which_something_happens_every_few_seconds(tmp_path: Path, tiny_llama: Path) -> None:
    plan = Plan(jobs=12, workers=2, fault_seconds=40, calm_seconds=120, seed=secrets.randbelow(10**6))
    report = soak(plan, tmp_path, tiny_llama)
    assert sum(report["states"].values()) == plan.jobs
    assert sum(report["faults"].values()) >= 5
    assert report["states"]["succeeded"] > plan.jobs / 2
