"""A job that does not fit is refused before anything is loaded."""

from pathlib import Path

import pytest
import torch

from pruning_core import memory, parse_recipe, prune
from pruning_core.errors import NotEnoughMemoryError
from pruning_core.estimate import estimate
from pruning_core.events import Event
from pruning_core.preflight import Preflight
from pruning_core.recipe import Recipe

CPU = torch.device("cpu")


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
def ready(recipe: Recipe) -> Preflight:
    return Preflight(recipe, roots=None)


@pytest.fixture
def limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which a container's kernel says how much memory it may have."""
    file = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "CGROUP_LIMIT", file)
    return file


@pytest.mark.parametrize("affordable", [2, 5, 7])
def test_the_knob_that_is_named_makes_the_job_fit(ready: Preflight, limit: Path, affordable: int) -> None:
    def asking_for(samples: int) -> Preflight:
        calibration = ready.recipe.calibration.model_copy(update={"samples": samples})
        return Preflight(ready.recipe.model_copy(update={"calibration": calibration}), roots=None)

    ready.recipe = ready.recipe.model_copy(
        update={"calibration": ready.recipe.calibration.model_copy(update={"sequence_length": 128})}
    )
    limit.write_text(f"{estimate(asking_for(affordable)).peak_device_bytes}\n")
    with pytest.raises(NotEnoughMemoryError, match=f"at most {affordable} windows") as refused:
        memory.require_memory(ready, CPU)
    assert (refused.value.field, refused.value.value) == ("calibration.samples", 8)
    memory.require_memory(asking_for(affordable), CPU)


def test_a_job_that_no_knob_makes_fit_is_refused_before_the_weights_are_read(
    recipe: Recipe, limit: Path, tmp_path: Path
) -> None:
    limit.write_text("4096\n")
    events: list[Event] = []
    with pytest.raises(NotEnoughMemoryError, match=r"MiB more than it has.*do not fit") as refused:
        prune(recipe, tmp_path / "out", on_event=events.append)
    assert refused.value.field == "model"
    assert events == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["max\n", None])
def test_without_a_limit_the_machine_counts(ready: Preflight, limit: Path, content: str | None) -> None:
    if content:
        limit.write_text(content)
    memory.require_memory(ready, CPU)
    assert estimate(ready).peak_device_bytes < memory.available_bytes(CPU)
