"""Models of which a layer at a time is in memory. That they give the same files is in the contract of the families."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pruning_core import parse_recipe, prune
from pruning_core.budgets import Weights
from pruning_core.depth.cuts import consecutive_cuts
from pruning_core.depth.influence import block_influences
from pruning_core.depth.sweep import score_cuts
from pruning_core.errors import (
    BrokenModelError,
    ContradictoryOptionsError,
    UnreadableModelError,
)
from pruning_core.estimate import estimate
from pruning_core.evaluation import evaluate
from pruning_core.layered_model import LayeredModel
from pruning_core.opening import open_model
from pruning_core.perplexity import mean_losses
from pruning_core.placement import MemoryPlan
from pruning_core.preflight import Preflight
from pruning_core.progress import Meter
from pruning_core.recipe import EvaluationText, ModelReference
from pruning_core.shelf import Shelf
from pruning_core.streaming import StreamedModel
from pruning_core.subject import find_subject
from tests.pruning_core.conftest import ON_DEVICE
from tests.tiny_models import make_tiny_llama

CPU = torch.device("cpu")


def opened(folder: Path, work: Path, weights: Weights = "streamed") -> LayeredModel:
    subject = find_subject(ModelReference(id=str(folder)), "native", roots=None)
    return open_model(subject.source, subject.family, "auto", CPU, weights, work)


@pytest.fixture
def streamed(folder: Path, tmp_path: Path) -> StreamedModel:
    model = opened(folder, tmp_path / "work")
    assert isinstance(model, StreamedModel)
    return model


def on_meta(model: LayeredModel) -> list[bool]:
    layers = model.model.get_submodule(model.family.layers)
    return [all(weight.is_meta for weight in layer.parameters()) for layer in layers.children()]


def test_only_the_open_layer_has_weights(streamed: StreamedModel) -> None:
    assert on_meta(streamed) == [True] * 4
    with streamed.open(2):
        assert on_meta(streamed) == [True, True, False, True]
    assert on_meta(streamed) == [True] * 4


def test_a_pass_reads_the_checkpoint_once(streamed: StreamedModel, windows: Tensor, meter: Meter) -> None:
    whole = streamed.bytes_read
    layers = sum(
        weight.numel() * weight.element_size()
        for name, weight in streamed.model.named_parameters()
        if name.startswith(streamed.family.layers)
    )
    mean_losses(streamed, [windows, windows[:2]], meter, ON_DEVICE)
    assert streamed.bytes_read - whole == layers
    mean_losses(streamed, [windows], meter, ON_DEVICE)
    assert streamed.bytes_read - whole == 2 * layers


def test_windows_that_the_shelf_has_no_room_for_take_another_pass(
    streamed: StreamedModel, folder: Path, windows: Tensor, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pruning_core.budgets.TOKENS_PER_CPU_BATCH", windows.shape[1])
    expected = mean_losses(opened(folder, folder, "resident"), [windows, windows[:2]], meter, ON_DEVICE)
    before = streamed.bytes_read
    mean_losses(streamed, [windows], meter, ON_DEVICE)
    once = streamed.bytes_read - before
    of_one = windows.shape[1] * streamed.config.hidden_size * 4
    given = mean_losses(streamed, [windows, windows[:2]], meter, Shelf("device", CPU, room=4 * of_one))
    assert streamed.bytes_read - before - once == 2 * once
    assert given == expected


@pytest.mark.parametrize("room", [None, 1])
def test_cuts_score_as_they_do_where_the_layers_stay(
    streamed: StreamedModel, folder: Path, windows: Tensor, meter: Meter, tmp_path: Path, room: int | None
) -> None:
    model, cuts = opened(folder, folder, "resident"), consecutive_cuts(4, 2)
    shelf = Shelf("disk", CPU, tmp_path, room=room)
    for some in (windows, windows[:1]):
        assert torch.equal(
            score_cuts(streamed, some, cuts, meter, shelf), score_cuts(model, some, cuts, meter, ON_DEVICE)
        )
    assert block_influences(streamed, windows, cuts, meter, shelf) == block_influences(
        model, windows, cuts, meter, ON_DEVICE
    )


def test_a_layer_that_is_stored_comes_back_changed(streamed: StreamedModel) -> None:
    with streamed.open(1) as layer:
        layer.mlp.down_proj.weight.data.zero_()
    with streamed.open(1) as layer:
        assert layer.mlp.down_proj.weight.any()
        layer.mlp.down_proj.weight.data.zero_()
        streamed.store(1, layer)
    streamed.remove([0])
    with streamed.open(0) as layer:
        assert not layer.mlp.down_proj.weight.any()
        assert layer.self_attn.layer_idx == 0
    with streamed.open(1) as layer:
        assert layer.mlp.down_proj.weight.any()


def test_a_layer_is_read_while_the_one_before_is_used(
    streamed: StreamedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    read = streamed._skeleton.read
    monkeypatch.setattr(
        streamed._skeleton, "read", lambda place, index: (asked.append(place), read(place, index))[1]
    )
    with streamed.open(0):
        pass
    ahead = streamed._ahead._expected
    assert ahead is not None
    ahead[1].result()
    assert asked == [0, 1]
    with streamed.open(1):
        assert asked[:2] == [0, 1]
    with streamed.open(3):
        pass
    assert asked == [0, 1, 2, 3]


def recipe(folder: Path, **others: object) -> dict[str, object]:
    return {
        "model": str(folder),
        "method": "osscar",
        "ratio": 0.5,
        "calibration": {"dataset": "builtin", "samples": 4, "sequence_length": 64},
        "evaluation": {"dataset": "builtin", "samples": 2, "sequence_length": 64},
        **others,
    }


def test_a_budget_below_the_weights_streams_them(tiny_llama: Path, tmp_path: Path) -> None:
    sizes = estimate(Preflight(parse_recipe(recipe(tiny_llama)), roots=None))
    assert sizes.streamed_device_bytes is not None
    assert sizes.memory_plan is None
    plan = MemoryPlan(weights="streamed", hidden_states="disk")
    # So small a model takes less than a batch of its logits, so it must be asked for.
    asked = recipe(
        tiny_llama, weights="streamed", memory_budget={"device": sizes.streamed_device_bytes, "host": 1}
    )
    assert estimate(Preflight(parse_recipe(asked), roots=None)).memory_plan == plan
    result = prune(parse_recipe(asked), tmp_path / "out", work=tmp_path)
    assert result.memory_plan == plan
    # What is done stays until the caller has what he wants of it.
    assert sorted(tmp_path.iterdir()) == [tmp_path / "done", tmp_path / "out"]


def test_half_of_a_wide_model_does_not_fit_and_is_streamed(tmp_path: Path) -> None:
    wide = make_tiny_llama(tmp_path / "wide", num_hidden_layers=60, intermediate_size=512, hidden_size=512)
    sizes = estimate(Preflight(parse_recipe(recipe(wide)), roots=None))
    assert sizes.streamed_device_bytes is not None
    assert sizes.streamed_device_bytes < sizes.least_device_bytes
    for device, weights in (
        (sizes.least_device_bytes, "resident"),
        (sizes.least_device_bytes - 1, "streamed"),
    ):
        ready = Preflight(parse_recipe(recipe(wide, memory_budget={"device": device, "host": 1})), roots=None)
        plan = estimate(ready).memory_plan
        assert plan is not None
        assert plan.weights == weights


def test_the_perplexity_of_a_streamed_model_is_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, text = (
        ModelReference(id=str(folder)),
        EvaluationText(dataset="builtin", sequence_length=64, samples=4),
    )
    resident = evaluate(reference, text)
    plan = MemoryPlan(weights="streamed", hidden_states="disk")
    monkeypatch.setattr("pruning_core.evaluation.place", lambda *_: plan)
    assert evaluate(reference, text).perplexity == resident.perplexity


def test_a_gguf_file_cannot_be_streamed(gguf: Path) -> None:
    with pytest.raises(ContradictoryOptionsError, match="is a GGUF file") as refused:
        Preflight(parse_recipe(recipe(gguf, weights="streamed")), roots=None)
    assert refused.value.field == "weights"


@pytest.mark.parametrize("place", ["layers.2.mlp.up_proj.weight", "embed_tokens.weight"])
def test_a_weight_that_is_not_finite_is_named(
    tiny_llama: Path, tmp_path: Path, windows: Tensor, meter: Meter, place: str
) -> None:
    broken = copytree(tiny_llama, tmp_path / "broken")
    file = broken / "model.safetensors"
    weights = load_file(file)
    weights[f"model.{place}"][0, 0] = torch.nan
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(BrokenModelError, match=rf"model\.{place}"):
        mean_losses(opened(broken, tmp_path), [windows], meter, ON_DEVICE)


@pytest.mark.parametrize("place", ["layers.2.mlp.up_proj.weight", "embed_tokens.weight"])
def test_a_weight_that_is_missing_is_named(
    tiny_llama: Path, tmp_path: Path, windows: Tensor, meter: Meter, place: str
) -> None:
    broken = copytree(tiny_llama, tmp_path / "broken")
    file = broken / "model.safetensors"
    weights = load_file(file)
    del weights[f"model.{place}"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(UnreadableModelError, match=rf"missing.*model\.{place}"):
        mean_losses(opened(broken, tmp_path), [windows], meter, ON_DEVICE)


def test_a_full_disk_leaves_no_checkpoint(tiny_llama: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    prune_it = [
        *(sys.executable, "-m", "cli.main", "prune", str(tiny_llama), "--method", "osscar", "--ratio", "0.5"),
        *("--calibration", "builtin", "--samples", "4", "--sequence-length", "64", "--evaluation", "builtin"),
        *("--evaluation-samples", "2", "--evaluation-sequence-length", "64", "--output", str(disk / "out")),
    ]
    mounted = f"mount -t tmpfs -o size=200k tmpfs {disk} && {shlex.join(prune_it)}; echo $?; ls -A {disk}/out"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mounted], capture_output=True, text=True, check=False
    )
    if "mount: " in done.stderr or "unshare: " in done.stderr:
        pytest.skip(f"this machine lets nobody mount a small disk of his own: {done.stderr.strip()}")
    assert re.search(
        r"no room on the disk for model\.safetensors\S* \([\d,]+ bytes\)", " ".join(done.stderr.split())
    )
    # How the command ended, and what is there then.
    assert done.stdout.split() == ["2"]
