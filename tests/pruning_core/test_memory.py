"""A job that does not fit is refused before anything is loaded."""

from pathlib import Path

import pytest
import torch

from pruning_core import memory, parse_recipe, prune
from pruning_core.errors import NotEnoughMemoryError
from pruning_core.estimate import Estimate, estimate
from pruning_core.events import Event
from pruning_core.preflight import Preflight
from pruning_core.recipe import Recipe


@pytest.fixture
def recipe(tiny_llama: Path) -> Recipe:
    return parse_recipe(
        {
            "model": str(tiny_llama),
            "method": "osscar",
            "ratio": 0.5,
            "calibration": {"dataset": "builtin", "samples": 8, "sequence_length": 64},
            "evaluation": {"dataset": "builtin", "samples": 2, "sequence_length": 64},
        }
    )


@pytest.fixture
def needed(recipe: Recipe) -> Estimate:
    return estimate(Preflight(recipe, roots=None))


@pytest.fixture
def limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which a container's kernel says how much memory it may have."""
    file = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "CGROUP_LIMIT", file)
    return file


def test_the_knob_that_is_named_makes_the_job_fit(recipe: Recipe, needed: Estimate, limit: Path) -> None:
    # Three of the eight windows' worth too little.
    available = needed.peak_device_bytes - needed.calibration_bytes * 3 // 8
    limit.write_text(f"{available}\n")
    with pytest.raises(NotEnoughMemoryError, match="at most 5 windows") as refused:
        memory.require_memory(recipe, needed, torch.device("cpu"))
    assert (refused.value.field, refused.value.value) == ("calibration.samples", 8)
    fewer = recipe.model_copy(update={"calibration": recipe.calibration.model_copy(update={"samples": 5})})
    memory.require_memory(fewer, estimate(Preflight(fewer, roots=None)), torch.device("cpu"))


def test_a_job_that_no_knob_makes_fit_is_refused_before_the_weights_are_read(
    recipe: Recipe, limit: Path, tmp_path: Path
) -> None:
    limit.write_text("4096\n")
    events: list[Event] = []
    with pytest.raises(NotEnoughMemoryError, match=r"GiB more than it has.*do not fit") as refused:
        prune(recipe, tmp_path / "out", on_event=events.append)
    assert refused.value.field == "model"
    assert events == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["max\n", None])
def test_without_a_limit_the_machine_counts(
    recipe: Recipe, needed: Estimate, limit: Path, content: str | None
) -> None:
    if content:
        limit.write_text(content)
    memory.require_memory(recipe, needed, torch.device("cpu"))
    assert needed.peak_device_bytes < memory.available_bytes(torch.device("cpu"))
