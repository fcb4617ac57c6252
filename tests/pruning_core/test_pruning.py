"""The door: a recipe in, a checkpoint that plain transformers loads out."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from pruning_core import PruneResult, checkpoint, parse_recipe, prune
from pruning_core.calibration import calibration_windows, vocabulary_windows
from pruning_core.depth.prune import DepthOutcome
from pruning_core.errors import (
    BrokenModelError,
    OutputExistsError,
    TextTooShortError,
    UnknownDeviceError,
    UnsupportedFamilyError,
)
from pruning_core.events import (
    DenseMeasured,
    Event,
    HeldOutMeasured,
    LayerPruned,
    PerplexityPoint,
    Progress,
    StageStarted,
)
from pruning_core.model_source import find_model
from pruning_core.text_source import find_text
from tests.fresh_process import run_fresh
from tests.pruning_core.conftest import transformers_loss

METHODS: dict[str, dict[str, Any]] = {"osscar": {"ratio": 0.5}, "depth": {"ratio": 0.25}}

# Another process, so that nothing of ours can help transformers to load the checkpoint.
LOAD_AND_MEASURE = """
import json, math, sys, torch
from pydoc_data.topics import topics
from transformers import AutoModelForCausalLM, AutoTokenizer
folder = sys.argv[1]
model = AutoModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
names = sorted(topics)
text = "\\n\\n".join(topics[name] for name in names[len(names) * 4 // 5 :])
tokens = torch.tensor(tokenizer(text, verbose=False)["input_ids"][: 2 * 64]).view(2, 64)
with torch.no_grad():
    loss = sum(model(input_ids=row[None], labels=row[None]).loss.item() for row in tokens) / 2
prompt = tokenizer("def f(x):", return_tensors="pt")
generated = model.generate(**prompt, max_new_tokens=20, min_new_tokens=20, do_sample=False)
assert not [name for name in sys.modules if name.startswith("pruning_core")]
print(json.dumps({
    "perplexity": math.exp(loss),
    "dtype": str(model.dtype),
    "parameters": model.num_parameters(),
    "generated": generated.shape[1] - prompt["input_ids"].shape[1],
    "finite": all(p.isfinite().all().item() for p in model.parameters()),
}))
"""


def recipe(folder: Path, method: str, **changes: Any) -> Any:
    return parse_recipe(
        {
            "model": str(folder),
            "method": method,
            "calibration": {"dataset": "builtin", "samples": 8, "sequence_length": 64},
            "evaluation": {"dataset": "builtin", "samples": 2, "sequence_length": 64},
            **METHODS[method],
            **changes,
        }
    )


def load_and_measure(folder: Path) -> dict[str, Any]:
    printed = run_fresh(LOAD_AND_MEASURE, str(folder), folder=folder)
    measured: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return measured


@pytest.fixture(params=["tiny_llama", "tiny_qwen2"])
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.mark.parametrize("method", METHODS)
def test_plain_transformers_loads_the_checkpoint_and_measures_what_was_reported(
    folder: Path, method: str, tmp_path: Path
) -> None:
    result = prune(recipe(folder, method), tmp_path / "out")
    measured = load_and_measure(tmp_path / "out")
    assert measured["perplexity"] == pytest.approx(result.perplexity_after, rel=1e-4)
    assert measured["parameters"] == result.parameters_after == result.plan.parameters_after
    assert result.parameters_before == result.plan.parameters_before
    assert measured["generated"] == 20
    assert measured["finite"]


@pytest.mark.parametrize("method", METHODS)
def test_the_checkpoint_has_the_cut_shapes_and_no_others(
    tiny_llama: Path, method: str, tmp_path: Path
) -> None:
    prune(recipe(tiny_llama, method), tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  safetensors files only have keys()
    layers, width = (4, 128) if method == "osscar" else (3, 256)
    assert {name.split(".")[2] for name in shapes if ".layers." in name} == set(map(str, range(layers)))
    assert {shape for name, shape in shapes.items() if "gate_proj" in name} == {(width, 32)}
    assert {shape for name, shape in shapes.items() if "down_proj" in name} == {(32, width)}


@pytest.mark.parametrize("method", METHODS)
def test_the_same_recipe_gives_the_same_checkpoint_bit_for_bit(
    tiny_llama: Path, method: str, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        prune(recipe(tiny_llama, method), tmp_path / name)
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second"))
    assert first == second


def test_another_seed_draws_other_windows(tiny_llama: Path, tmp_path: Path) -> None:
    text = {"dataset": "builtin", "samples": 8, "sequence_length": 64}
    results = [
        prune(recipe(tiny_llama, "osscar", calibration={**text, "seed": seed}), tmp_path / str(seed))
        for seed in (0, 1)
    ]
    assert results[0].layer_losses != results[1].layer_losses


def test_dtype_follows_the_checkpoint_unless_asked_otherwise(tiny_llama: Path, tmp_path: Path) -> None:
    halved = prune(recipe(tiny_llama, "osscar", dtype="bfloat16"), tmp_path / "halved")
    assert halved.dtype == "bfloat16"
    assert load_and_measure(tmp_path / "halved")["dtype"] == "torch.bfloat16"
    again = prune(recipe(tmp_path / "halved", "depth"), tmp_path / "again")
    assert again.dtype == "bfloat16"
    assert again.perplexity_before == pytest.approx(halved.perplexity_after, rel=1e-3)


def test_tied_embeddings_stay_tied_and_count_once(models: Path, tmp_path: Path) -> None:
    from tests.tiny_models import make_tiny_llama

    folder = make_tiny_llama(models / "tied", tie_word_embeddings=True)
    result = prune(recipe(folder, "depth"), tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118  safetensors files only have keys()
    assert load_and_measure(tmp_path)["parameters"] == result.parameters_after == result.plan.parameters_after


def test_events_tell_the_story_in_order(tiny_llama: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    calibration = {"dataset": "builtin", "samples": 64, "sequence_length": 64}
    result = prune(recipe(tiny_llama, "osscar", calibration=calibration), tmp_path, on_event=events.append)
    stages = [event.stage for event in events if isinstance(event, StageStarted)]
    assert stages == ["loading", "evaluating", "calibrating", "pruning", "evaluating"]
    assert [event.layer for event in events if isinstance(event, LayerPruned)] == [0, 1, 2, 3]
    assert any(isinstance(event, PerplexityPoint) for event in events)
    assert DenseMeasured(result.perplexity_before, result.parameters_before, "float32") in events
    fractions = [event.fraction for event in events if isinstance(event, Progress)]
    assert fractions == sorted(fractions)


@pytest.mark.parametrize("method", METHODS)
def test_progress_ends_where_the_work_does(
    tiny_llama: Path, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pruning_core.progress.REPORT_EVERY_SECONDS", 0)
    fractions: list[float] = []

    def note(event: Event) -> None:
        if isinstance(event, Progress):
            fractions.append(event.fraction)

    prune(recipe(tiny_llama, method), tmp_path, on_event=note)
    assert fractions == sorted(fractions)
    # The last work, and that there is no more.
    assert fractions[-2:] == pytest.approx([1.0, 1.0])
    assert fractions[-3] < 1.0


@pytest.mark.parametrize("method", METHODS)
def test_held_out_calibration_text_is_measured_before_and_after(
    tiny_llama: Path, method: str, tmp_path: Path
) -> None:
    events: list[Event] = []
    asked = recipe(tiny_llama, method)
    result = prune(asked, tmp_path / "out", on_event=events.append)
    (event,) = [event for event in events if isinstance(event, HeldOutMeasured)]
    assert result.held_out is not None
    assert result.held_out.model_dump() == asdict(event)
    source = find_model(asked.model, roots=None)
    text = find_text("text", "builtin", "calibration", roots=None)
    windows = calibration_windows(asked.calibration, text, checkpoint.load_tokenizer(source)).held_out
    assert len(windows) == event.windows == 1
    for folder, measured in (
        (tiny_llama, event.perplexity_before),
        (tmp_path / "out", event.perplexity_after),
    ):
        loss = transformers_loss(AutoModelForCausalLM.from_pretrained(folder), windows)
        assert measured == pytest.approx(math.exp(loss), rel=1e-4)


def test_a_text_that_calibrates_whole_has_nothing_to_hold_out(tiny_llama: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("some words of a short text " * 40)
    tokens = len(AutoTokenizer.from_pretrained(tiny_llama)(text.read_text())["input_ids"])
    asked = {"dataset": str(text), "samples": tokens // 32, "sequence_length": 32}
    result = prune(recipe(tiny_llama, "osscar", calibration=asked), tmp_path / "out")
    assert result.held_out is None


def test_random_tokens_of_the_whole_vocabulary_calibrate_too(tiny_llama: Path, tmp_path: Path) -> None:
    with_them = prune(recipe(tiny_llama, "osscar"), tmp_path / "with")
    without = prune(recipe(tiny_llama, "osscar", options={"vocabulary_share": 0.0}), tmp_path / "without")
    assert (with_them.vocabulary_windows, without.vocabulary_windows) == (1, 0)
    assert with_them.layer_losses != without.layer_losses
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    asked = recipe(tiny_llama, "osscar").calibration
    drawn = vocabulary_windows(asked, 40, tokenizer, vocabulary=len(tokenizer))
    assert drawn.shape == (40, 64)
    ordinary = set(range(len(tokenizer))) - set(tokenizer.all_special_ids)
    assert set(drawn.flatten().tolist()) <= ordinary
    assert len(set(drawn.flatten().tolist())) > 0.9 * len(ordinary)


def test_what_was_used_is_recorded(tiny_llama: Path, tmp_path: Path) -> None:
    result = prune(recipe(tiny_llama, "depth"), tmp_path)
    assert result.calibration.windows == 8
    assert result.calibration.sha256 != result.evaluation.sha256
    assert set(result.versions) >= {"secateur", "torch", "transformers", "python"}
    assert PruneResult.model_validate_json(result.model_dump_json()) == result
    assert len(result.candidates) == 4
    assert all(math.isfinite(candidate.perplexity) for candidate in result.candidates)


@pytest.mark.parametrize(
    ("options", "samples", "search", "heal"),
    [
        ({}, 8, 1, 7),
        ({}, 1, 1, 1),
        ({"search_samples": 3}, 8, 3, 5),
        ({"search_samples": 99}, 8, 8, 8),
        ({"heal": "none"}, 8, 8, 0),
        ({"heal": "none", "search_samples": 3}, 8, 3, 0),
    ],
)
def test_some_windows_choose_layers_and_others_heal(
    tiny_llama: Path,
    tmp_path: Path,
    options: dict[str, Any],
    samples: int,
    search: int,
    heal: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, torch.Tensor] = {}

    def look(
        *_: object, search_windows: torch.Tensor, heal_windows: torch.Tensor, **__: object
    ) -> DepthOutcome:
        seen.update(search=search_windows, heal=heal_windows)
        return DepthOutcome((), [], [])

    monkeypatch.setattr("pruning_core.pruning.prune_depth", look)
    text = {"dataset": "builtin", "samples": samples, "sequence_length": 128}
    asked = recipe(tiny_llama, "depth", calibration=text, options=options | {"vocabulary_share": 0})
    prune(asked, tmp_path / "out")
    assert (len(seen["search"]), len(seen["heal"])) == (search, heal)
    if search + heal == samples:
        assert not {*map(str, seen["search"].tolist())} & {*map(str, seen["heal"].tolist())}


def test_a_folder_that_holds_something_is_left_alone(tiny_llama: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(OutputExistsError, match="Name a new folder"):
        prune(recipe(tiny_llama, "depth"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_device_that_is_not_there_is_refused_by_name(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownDeviceError, match="cuda:77"):
        prune(recipe(tiny_llama, "depth"), tmp_path, device="cuda:77")


def test_a_text_that_is_too_short_is_refused_before_the_weights_are_read(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the weights were read")

    monkeypatch.setattr("pruning_core.checkpoint.load_model", fail)
    (tmp_path / "short.txt").write_text("too short " * 20)
    text = {"dataset": str(tmp_path / "short.txt"), "samples": 4, "sequence_length": 64}
    with pytest.raises(TextTooShortError, match=r"calibration\.samples = 4"):
        prune(recipe(tiny_llama, "depth", calibration=text), tmp_path / "out")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_weight_that_is_not_finite_is_named_before_anything_runs(
    tiny_llama: Path, method: str, value: float, tmp_path: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    with torch.no_grad():
        model.model.layers[2].mlp.up_proj.weight[3, 5] = value
    model.save_pretrained(tmp_path / "broken")
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(tmp_path / "broken")
    events: list[Event] = []
    with pytest.raises(BrokenModelError, match=r"model\.layers\.2\.mlp\.up_proj\.weight"):
        prune(recipe(tmp_path / "broken", method), tmp_path / "out", on_event=events.append)
    assert events == [StageStarted("loading")]


def test_activations_that_overflow_name_the_layer_and_the_way_out(tiny_llama: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.fill_(1e38)
    model.save_pretrained(tmp_path / "broken")
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(tmp_path / "broken")
    with pytest.raises(BrokenModelError, match=r"decoder layer 1 .* dtype bfloat16 or float32"):
        prune(recipe(tmp_path / "broken", "osscar"), tmp_path / "out")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none here")
@pytest.mark.parametrize("method", METHODS)
def test_a_gpu_gives_what_the_cpu_gives(folder: Path, method: str, tmp_path: Path) -> None:
    cpu = prune(recipe(folder, method), tmp_path / "cpu", device="cpu")
    gpu = prune(recipe(folder, method), tmp_path / "gpu", device="cuda")
    assert gpu.perplexity_after == pytest.approx(cpu.perplexity_after, rel=1e-3)
    assert gpu.removed_layers == cpu.removed_layers


def test_a_family_that_only_a_newer_transformers_has_is_refused_by_name(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pruning_core.checkpoint.CONFIG_MAPPING", {})
    recipe = parse_recipe(
        {
            "model": str(tiny_llama),
            "method": "depth",
            "ratio": 0.25,
            "calibration": {"dataset": "builtin", "samples": 16, "sequence_length": 64},
            "evaluation": {"dataset": "builtin", "samples": 2, "sequence_length": 64},
        }
    )
    with pytest.raises(
        UnsupportedFamilyError, match=r"'llama', which the worker's transformers .* not have yet"
    ):
        prune(recipe, tmp_path / "out")
