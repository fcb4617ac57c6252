"""A job that does not fit is refused before anything is loaded."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pydantic import ByteSize

from pruning_core import memory, parse_recipe, prune
from pruning_core.budgets import Placement, Solver, Weights
from pruning_core.errors import NotEnoughMemoryError
from pruning_core.estimate import estimate
from pruning_core.events import Event
from pruning_core.placement import MemoryPlan, Need, Room, place
from pruning_core.preflight import Preflight
from pruning_core.provenance import peak_device_bytes
from pruning_core.recipe import MemoryBudget, Recipe

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


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Says how much is free on disk, which no test can fill."""

    def free(size: int) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=size))

    return free


def asking_for(ready: Preflight, samples: int) -> Preflight:
    calibration = ready.recipe.calibration.model_copy(update={"samples": samples, "sequence_length": 128})
    return Preflight(ready.recipe.model_copy(update={"calibration": calibration}), roots=None)


def test_hidden_states_rest_on_disk_where_memory_is_too_small_for_them(
    ready: Preflight, limit: Path, tmp_path: Path
) -> None:
    needed = estimate(ready)
    assert needed.least_device_bytes < needed.peak_device_bytes
    limit.write_text(f"{needed.peak_device_bytes}\n")
    assert memory.plan_memory(ready, CPU, tmp_path)[0] == MemoryPlan(
        weights="resident", hidden_states="device"
    )
    limit.write_text(f"{needed.peak_device_bytes - 1}\n")
    assert memory.plan_memory(ready, CPU, tmp_path)[0] == MemoryPlan(weights="resident", hidden_states="disk")


def test_a_job_whose_hidden_states_rest_on_disk_gives_the_same(
    recipe: Recipe, ready: Preflight, limit: Path, tmp_path: Path
) -> None:
    in_memory = prune(recipe, tmp_path / "in-memory")
    limit.write_text(f"{estimate(ready).least_device_bytes}\n")
    on_disk = prune(recipe, tmp_path / "on-disk", work=tmp_path)
    assert [one.memory_plan.hidden_states for one in (in_memory, on_disk)] == ["device", "disk"]
    assert on_disk.perplexity_after == in_memory.perplexity_after


@pytest.mark.parametrize("affordable", [2, 5, 7])
def test_the_knob_that_is_named_makes_the_job_fit(
    ready: Preflight, limit: Path, disk: Callable[[int], None], affordable: int
) -> None:
    fits = estimate(asking_for(ready, affordable))
    limit.write_text(f"{fits.peak_device_bytes}\n")
    disk(fits.calibration_bytes)
    with pytest.raises(NotEnoughMemoryError, match=f"at most {affordable} windows") as refused:
        memory.plan_memory(asking_for(ready, 8), CPU, None)
    assert (refused.value.field, refused.value.value) == ("calibration.samples", 8)
    memory.plan_memory(asking_for(ready, affordable), CPU, None)


def test_a_job_that_no_knob_makes_fit_is_refused_before_the_weights_are_read(
    recipe: Recipe, limit: Path, tmp_path: Path
) -> None:
    limit.write_text("4096\n")
    events: list[Event] = []
    with pytest.raises(NotEnoughMemoryError, match=r"MiB are free.*one layer at a time") as refused:
        prune(recipe, tmp_path / "out", on_event=events.append)
    assert refused.value.field == "model"
    assert events == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["max\n", None])
def test_without_a_limit_the_machine_counts(ready: Preflight, limit: Path, content: str | None) -> None:
    if content:
        limit.write_text(content)
    assert memory.plan_memory(ready, CPU, None)[0].hidden_states == "device"
    assert estimate(ready).peak_device_bytes < memory.available_bytes(CPU)


NEED = Need(peak=100, resident=80, streamed=60, read_ahead=5, hidden_states=20, solver=40, beside_solver=10)


@pytest.mark.parametrize(
    ("device", "host", "expected"),
    [
        (100, 0, ("resident", "device", "device")),
        (99, 200, ("resident", "host", "device")),
        # Reading layers again costs less than a solver that is many times as slow.
        (79, 200, ("streamed", "host", "device")),
        (60, 24, ("streamed", "disk", "device")),
        (59, 200, ("resident", "host", "host")),
        (59, 59, ("resident", "disk", "host")),
        (49, 200, ("streamed", "host", "host")),
        (30, 64, ("streamed", "disk", "host")),
        (29, 200, None),
        (59, 39, None),
    ],
)
def test_the_solver_leaves_the_device_last(
    device: int, host: int, expected: tuple[Weights, Placement, Solver] | None
) -> None:
    plan = place(NEED, Room(device, host, disk=1000))
    assert (None if plan is None else (plan.weights, plan.hidden_states, plan.solver)) == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none here")
def test_a_layer_that_is_solved_on_the_host_gives_the_same(
    recipe: Recipe, ready: Preflight, tmp_path: Path
) -> None:
    streamed = estimate(ready).streamed_device_bytes
    assert streamed is not None
    on_device = prune(recipe, tmp_path / "on-device", device="cuda")
    on_host = prune(
        recipe.model_copy(update={"weights": "streamed"}),
        tmp_path / "on-host",
        device="cuda",
        memory_budget=MemoryBudget(device=ByteSize(streamed - 1)),
    )
    assert [one.memory_plan.solver for one in (on_device, on_host)] == ["device", "host"]
    assert on_host.perplexity_after == pytest.approx(on_device.perplexity_after, rel=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_what_tensors_took_on_a_device_is_known_when_they_are_gone() -> None:
    before = torch.cuda.memory_allocated()
    taken = torch.empty(2**26, dtype=torch.uint8, device="cuda")
    del taken
    assert (peak_device_bytes() or 0) >= before + 2**26
