"""Perplexity of a model as it is."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel

from pruning_core import checkpoint
from pruning_core.calibration import evaluation_windows
from pruning_core.devices import find_device
from pruning_core.estimate import evaluation_need
from pruning_core.events import OnEvent, StageStarted, ignore
from pruning_core.memory import room_on
from pruning_core.model_code import Trusted
from pruning_core.opening import open_model
from pruning_core.paths import Roots
from pruning_core.perplexity import mean_loss, perplexity_of
from pruning_core.placement import MemoryPlan, place
from pruning_core.preflight import require_positions
from pruning_core.progress import CostModel, Meter
from pruning_core.provenance import peak_rss_bytes
from pruning_core.recipe import EvaluationText, ModelReference, RemoteCode
from pruning_core.result import TextUsed
from pruning_core.shelf import Shelf
from pruning_core.subject import find_subject
from pruning_core.text_source import find_text


class EvaluationResult(BaseModel):
    """A perplexity, and on what it was measured."""

    model: ModelReference
    perplexity: float
    parameters: int
    text: TextUsed
    dtype: str
    device: str
    seconds: float
    peak_rss_bytes: int


def evaluate(
    model: ModelReference,
    text: EvaluationText,
    *,
    dtype: str = "auto",
    device: str = "auto",
    remote_code: RemoteCode = "native",
    roots: Roots = None,
    trusted: Trusted = (),
    allow_pickle: bool = False,
    on_event: OnEvent = ignore,
) -> EvaluationResult:
    """Measure the perplexity of a model.

    Args:
        model: which.
        text: on what, in windows of what length.
        dtype: `auto` for the checkpoint's own.
        device: `auto`, `cpu`, `cuda`, …
        remote_code: what to do with a model's own code.
        roots: folders that local paths must lie under; None for anywhere.
        trusted: whose own code may run, see `pruning_core.model_code`.
        allow_pickle: whether pickled weights may be read.
        on_event: called with `StageStarted` and `Progress` events.

    Raises:
        RecipeError: the model or the text cannot be used; raised before the weights are read.
        BrokenModelError: the model's weights or activations are not finite.
    """
    started = time.monotonic()
    where = find_device(device)
    subject = find_subject(model, remote_code, roots=roots, trusted=trusted, allow_pickle=allow_pickle)
    source, family, config = subject.source, subject.family, subject.config
    require_positions("evaluation", text.sequence_length, config)
    prepared = evaluation_windows(
        text,
        find_text("evaluation.dataset", text.dataset, "evaluation", roots),
        checkpoint.load_tokenizer(source),
    )
    tokens = prepared.windows.numel()
    needed, room = evaluation_need(subject, dtype, tokens), room_on(where, None)
    # A GPU without room for all of it says so itself, and what the system's memory can take is not so well known.
    plan = place(needed, room) or MemoryPlan(weights="resident", hidden_states="device")
    on_event(StageStarted("evaluating"))
    costs = CostModel.of(family, config)
    with TemporaryDirectory(prefix="secateur-") as work:
        layered = open_model(source, family, dtype, where, plan.weights, Path(work))
        shelf = Shelf(plan.hidden_states, where, Path(work), room=needed.hidden_states)
        meter = Meter(costs, tokens * (len(layered) + costs.head), on_event)
        loss = mean_loss(layered, prepared.windows, meter, shelf)
    return EvaluationResult(
        model=source.reference,
        perplexity=perplexity_of(loss, "the model"),
        parameters=checkpoint.count_parameters(source, layered.model),
        text=prepared.used,
        dtype=str(layered.dtype).removeprefix("torch."),
        device=str(where),
        seconds=time.monotonic() - started,
        peak_rss_bytes=peak_rss_bytes(),
    )
