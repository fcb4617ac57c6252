"""The one door: a recipe and an empty folder in, a smaller checkpoint and its numbers out."""

import hashlib
import shutil
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from pruning_core import checkpoint
from pruning_core.arithmetic import arithmetic
from pruning_core.base_card import read_base_card
from pruning_core.base_digests import digest_base
from pruning_core.calibration import calibration_windows, evaluation_windows, vocabulary_windows
from pruning_core.companions import read_companions
from pruning_core.depth.prune import DepthOutcome, depth_cost, prune_depth
from pruning_core.depth.sharing import Helpers
from pruning_core.devices import find_device
from pruning_core.errors import OutputExistsError
from pruning_core.events import (
    DenseMeasured,
    HeldOutMeasured,
    LayerPruned,
    OnEvent,
    StageStarted,
    ignore,
)
from pruning_core.gguf_file.export import write_gguf
from pruning_core.gguf_file.vocabulary import read_vocabulary
from pruning_core.layered_model import LayeredModel
from pruning_core.ledger import Ledger
from pruning_core.memory import NO_BUDGET, plan_memory
from pruning_core.model_code import Trusted
from pruning_core.model_source import ModelSource
from pruning_core.opening import open_model
from pruning_core.osscar.probe import NO_PROBE, plan_probe
from pruning_core.osscar.width import prune_width, width_cost
from pruning_core.paths import Roots
from pruning_core.perplexity import mean_losses, perplexity_of
from pruning_core.placement import MemoryPlan
from pruning_core.planning import Plan
from pruning_core.preflight import Preflight
from pruning_core.progress import CostModel, Meter
from pruning_core.provenance import describe_machine, installed_versions, peak_rss_bytes
from pruning_core.recipe import MemoryBudget, OsscarRecipe, Recipe
from pruning_core.result import Candidate, HealedLayer, HeldOut, LayerLoss, PruneResult
from pruning_core.shelf import Shelf
from pruning_core.stored_weights import fingerprint

DONE = "done"
"""What the ledger's folder is called inside a work folder."""


def prune(
    recipe: Recipe,
    output: Path,
    *,
    roots: Roots = None,
    trusted: Trusted = (),
    allow_pickle: bool = False,
    device: str = "auto",
    work: Path | None = None,
    memory_budget: MemoryBudget = NO_BUDGET,
    on_event: OnEvent = ignore,
    helpers: Helpers | None = None,
) -> PruneResult:
    """Prune a model and write the smaller checkpoint.

    Args:
        recipe: what to prune, how, and on which text.
        output: the checkpoint's folder; must not exist, or be empty.
        roots: folders that local paths must lie under; None for anywhere.
        trusted: whose own code may run, see `pruning_core.model_code`.
        allow_pickle: whether pickled weights may be read.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, …
        work: folder for what the job cannot hold in memory, and for what it has done: a call with the same recipe and
            folder goes on from there, and writes the same checkpoint, to the last bit. None for a temporary one.
        memory_budget: what any job may take here, beside what the recipe says.
        on_event: called, on this thread, with each `events.Event`.
        helpers: who score shares of a depth search, see `sharing.score_share`; without them this process searches
            alone, whatever `options.parallelism` says. The answer is the same.

    Returns:
        Perplexity and parameters before and after, and how they came about.

    Raises:
        RecipeError: the recipe cannot be carried out; raised before the weights are read.
        BrokenModelError: the model's weights or activations are not finite.
        DiskFullError: there is no room for the checkpoint, or for the work on it.
    """
    started = time.monotonic()
    if output.exists() and any(output.iterdir()):
        raise OutputExistsError("output", str(output), "this folder is not empty.", "Name a new folder.")
    where = find_device(device)
    ready = Preflight(recipe, roots, trusted, allow_pickle=allow_pickle)
    recipe = ready.recipe

    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
    plan, shelf = plan_memory(ready, where, work, memory_budget)
    with TemporaryDirectory(prefix="secateur-") if work is None else nullcontext(work) as folder:
        kept = None if work is None else work / DONE
        result = _carry_out(ready, where, plan, shelf, Path(folder), kept, output, on_event, helpers)
    return result.model_copy(update={"memory_budget": memory_budget, "seconds": time.monotonic() - started})


def forget_work(work: Path) -> None:
    """Remove what `prune` kept in its work folder, once nobody will want to go on from there."""
    shutil.rmtree(work / DONE, ignore_errors=True)


def _carry_out(  # noqa: PLR0917  most are `prune`'s
    ready: Preflight,
    device: torch.device,
    plan: MemoryPlan,
    shelf: Shelf,
    work: Path,
    kept: Path | None,
    output: Path,
    on_event: OnEvent,
    helpers: Helpers | None,
) -> PruneResult:
    recipe, source = ready.recipe, ready.source
    on_event(StageStarted("loading"))
    # Now, and not when all is done and the Hub may be away.
    companions, base_card = read_companions(source), read_base_card(source)
    base_digests = digest_base(source)
    vocabulary = None
    if "gguf" in recipe.formats:
        vocabulary = read_vocabulary(source, ready.config["vocab_size"])
    tokenizer = checkpoint.load_tokenizer(source)
    calibration = calibration_windows(recipe.calibration, ready.calibration, tokenizer)
    evaluation = evaluation_windows(recipe.evaluation, ready.evaluation, tokenizer)
    ledger = Ledger()
    if kept is not None:
        windows = [calibration.windows, calibration.held_out, evaluation.windows]
        ledger = Ledger.open(kept, _conditions(ready, device, shelf.solver, windows))
    model = open_model(source, ready.family, recipe.dtype, device, plan.weights, work, ledger.layers)
    dtype = str(model.dtype).removeprefix("torch.")

    search_windows, repair_windows = _split(recipe, calibration.windows)
    random = recipe.options.vocabulary_windows(len(repair_windows))
    # In front, because the last windows choose the ridge.
    repair_windows = torch.cat(
        [vocabulary_windows(recipe.calibration, random, tokenizer, model.config.vocab_size), repair_windows]
    )

    costs = CostModel.of(ready.family, ready.config)
    measured = evaluation.windows.numel() + calibration.held_out.numel()
    job = _cost(ready.plan, recipe, search_windows, repair_windows, measured, costs)
    probe = plan_probe(len(model), evaluation.used, costs, job) if recipe.method == "osscar" else NO_PROBE
    meter = Meter(costs, job + probe.cost, on_event)

    on_event(StageStarted("evaluating"))
    texts = [evaluation.windows, *([calibration.held_out] if len(calibration.held_out) else [])]

    def measure_dense() -> tuple[int, list[float]]:
        return checkpoint.count_parameters(source, model.model), _perplexities(
            model, texts, meter, shelf, "unpruned"
        )

    parameters_before, (dense, *held_out_before) = ledger.recall(
        "dense", tuple[int, list[float]], measure_dense, meter
    )
    on_event(DenseMeasured(dense, parameters_before, dtype))

    losses: list[LayerPruned] = []
    depth = DepthOutcome((), [], [])
    if isinstance(recipe, OsscarRecipe):
        losses = prune_width(
            model,
            repair_windows,
            keep=ready.plan.intermediate_size_after,
            options=recipe.options,
            shelf=shelf,
            probe_windows=evaluation.windows,
            probe=probe,
            meter=meter,
            on_event=on_event,
            ledger=ledger,
        )
    else:
        depth = prune_depth(
            model,
            remove=ready.plan.layers_before - ready.plan.layers_after,
            search_windows=search_windows,
            heal_windows=repair_windows,
            options=recipe.options,
            shelf=shelf,
            costs=costs,
            meter=meter,
            on_event=on_event,
            helpers=helpers,
            ledger=ledger,
        )

    on_event(StageStarted("evaluating"))
    pruned, *held_out_after = ledger.recall(
        "pruned", list[float], lambda: _perplexities(model, texts, meter, shelf, "pruned"), meter
    )
    held_out = None
    for before, after in zip(held_out_before, held_out_after, strict=True):
        held_out = HeldOut(
            perplexity_before=before, perplexity_after=after, windows=len(calibration.held_out)
        )
        on_event(HeldOutMeasured(**held_out.model_dump()))
    meter.finish()
    checkpoint.save(model, tokenizer, output, source, recipe.shard_size, companions=companions)
    if vocabulary is not None:
        write_gguf(output, model.config, dtype, vocabulary, recipe, base_card)
    return PruneResult(
        recipe=recipe,
        base_card=base_card,
        base_digests=base_digests,
        converted_to=_converted_to(source),
        plan=ready.plan,
        removed_layers=list(depth.removed),
        perplexity_before=dense,
        perplexity_after=pruned,
        parameters_before=parameters_before,
        parameters_after=checkpoint.count_parameters(source, model.model),
        dtype=dtype,
        device=str(device),
        machine=describe_machine(device),
        memory_budget=NO_BUDGET,
        memory_plan=plan,
        calibration=calibration.used,
        held_out=held_out,
        vocabulary_windows=random,
        evaluation=evaluation.used,
        layer_losses=[LayerLoss.model_validate(loss, from_attributes=True) for loss in losses],
        candidates=[Candidate.model_validate(one, from_attributes=True) for one in depth.candidates],
        healed_layers=[HealedLayer.model_validate(layer, from_attributes=True) for layer in depth.healed],
        seconds=0.0,
        peak_rss_bytes=peak_rss_bytes(),
        versions=installed_versions(),
    )


def _conditions(
    ready: Preflight, device: torch.device, solver: torch.device, windows: Sequence[Tensor]
) -> dict[str, object]:
    """What the last bit of a result, and of what is kept on the way to it, depends on."""
    return {
        "recipe": ready.recipe.model_dump(mode="json"),
        "weights": fingerprint(ready.source),
        "windows": [hashlib.sha256(each.numpy().tobytes()).hexdigest() for each in windows],
        "arithmetic": arithmetic(device),
        "solver": arithmetic(solver),
        "versions": installed_versions(),
    }


def _converted_to(source: ModelSource) -> str | None:
    own_code = source.own_code
    return own_code.model.twin.model_type if own_code is not None and not own_code.in_place else None


def _perplexities(
    model: LayeredModel, texts: Sequence[Tensor], meter: Meter, shelf: Shelf, state: str
) -> list[float]:
    """Of the evaluation text, and of the held-out text if there is one, in one pass."""
    whats = (f"the {state} model", f"the {state} model on held-out text")
    losses = mean_losses(model, texts, meter, shelf)
    return [perplexity_of(loss, what) for loss, what in zip(losses, whats, strict=False)]


def _split(recipe: Recipe, windows: Tensor) -> tuple[Tensor, Tensor]:
    """The calibration windows that choose layers, and those that repair what stays; a single window does both."""
    if isinstance(recipe, OsscarRecipe):
        return windows[:0], windows
    search = recipe.options.search_windows(len(windows))
    if recipe.options.heal == "none":
        return windows[:search], windows[:0]
    return windows[:search], windows[search:] if search < len(windows) else windows


def _cost(  # noqa: PLR0917  three kinds of windows
    plan: Plan, recipe: Recipe, search: Tensor, repair: Tensor, measured: int, costs: CostModel
) -> float:
    """Cost of the job in the units of `CostModel`, its progress probe aside, with `measured` tokens of evaluation."""
    layers = plan.layers_before
    measuring = measured * (layers + plan.layers_after + 2 * costs.head)
    if isinstance(recipe, OsscarRecipe):
        return measuring + width_cost(layers, repair.numel(), recipe.options, costs)
    return measuring + depth_cost(
        layers,
        layers - plan.layers_after,
        search_windows=search,
        heal_windows=repair,
        options=recipe.options,
        costs=costs,
    )
