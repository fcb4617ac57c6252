"""A job that ends in its middle goes on from what it had done, and gives what it would have given."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pruning_core import PruneResult, parse_recipe, prune
from pruning_core.depth import prune as depth_prune
from pruning_core.events import (
    CandidateScored,
    DenseMeasured,
    Event,
    HeldOutMeasured,
    LayerHealed,
    LayerPruned,
    PerplexityPoint,
    Progress,
    StageStarted,
)
from pruning_core.layer_files import LayerFiles
from pruning_core.layered_model import ResidentModel
from pruning_core.ledger import Ledger
from pruning_core.progress import Meter
from pruning_core.shelf import Shelf
from tests.pruning_core.interruption import Interrupted, Interruption, require_same_files

CPU = torch.device("cpu")
RECIPES: dict[str, dict[str, Any]] = {
    "osscar": {"ratio": 0.5},
    "depth": {"ratio": 0.25},
    "greedy": {"method": "depth", "ratio": 0.5, "options": {"selection": "greedy", "leaders": 2}},
    "influence": {"method": "depth", "ratio": 0.5, "options": {"score": "block_influence"}},
    "exhaustive": {"method": "depth", "ratio": 0.5, "options": {"search": "exhaustive", "heal": "boundary"}},
}
INTERRUPTIONS = [
    ("osscar", DenseMeasured, 1),
    ("osscar", PerplexityPoint, 2),
    ("osscar", LayerPruned, 2),
    ("osscar", LayerPruned, 4),
    ("osscar", HeldOutMeasured, 1),
    # Four candidates, three that are tried, the one that is healed, and its layers.
    *[("depth", CandidateScored, times) for times in (1, 5, 7, 8)],
    ("depth", LayerHealed, 2),
    ("greedy", CandidateScored, 6),
    ("exhaustive", CandidateScored, 4),
    # Once layers are healed, the search must not look at them.
    ("influence", LayerHealed, 1),
    ("exhaustive", LayerHealed, 1),
]


def recipe(tiny: Path, name: str, **others: Any) -> Any:
    return parse_recipe(
        {
            "model": str(tiny),
            "method": name,
            # Whole windows behind the ones that calibrate are held out.
            "calibration": {"dataset": "builtin", "samples": 48, "sequence_length": 64},
            "evaluation": {"dataset": "builtin", "samples": 4, "sequence_length": 64},
            **RECIPES[name],
            **others,
        }
    )


@pytest.fixture(scope="module")
def undisturbed(
    tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, PruneResult, list[Event], int]]:
    """Of each recipe its checkpoint, its result, what it told, and how often it opened a layer."""
    whole = {}
    for name in RECIPES:
        events: list[Event] = []
        out = tmp_path_factory.mktemp("undisturbed") / name
        with counting_layers() as opened:
            result = prune(recipe(tiny_llama, name), out, on_event=events.append)
        whole[name] = out, result, events, opened.total()
    return whole


@pytest.mark.parametrize(("name", "kind", "times"), INTERRUPTIONS)
def test_whenever_it_is_interrupted_the_result_is_the_same(
    tiny_llama: Path, tmp_path: Path, undisturbed: Any, name: str, kind: type, times: int
) -> None:
    expected, result, told, _ = undisturbed[name]
    asked, work = recipe(tiny_llama, name), tmp_path / "work"
    with pytest.raises(Interrupted):
        prune(asked, tmp_path / "out", work=work, on_event=Interruption(kind, times))
    events: list[Event] = []
    again = prune(asked, tmp_path / "out", work=work, on_event=events.append)
    require_same_files(tmp_path / "out", expected)
    assert facts(again) == facts(result)
    # Who listens to the second attempt alone hears all of it.
    assert comparable(events) == comparable(told)


@pytest.mark.parametrize(
    ("name", "opened"),
    [*[("depth", opened) for opened in (8, 20, 32)], ("greedy", 11)],
)
def test_whichever_layer_it_was_at_it_goes_on_from_the_last_page(
    tiny_llama: Path,
    tmp_path: Path,
    undisturbed: Any,
    name: str,
    opened: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected, result, _, by_one = undisturbed[name]
    asked, work = recipe(tiny_llama, name), tmp_path / "work"
    monkeypatch.setattr("pruning_core.ledger.PAGE_EVERY_SECONDS", 0)
    with counting_layers(most=opened) as before, pytest.raises(Interrupted):
        prune(asked, tmp_path / "out", work=work)
    with counting_layers() as behind:
        again = prune(asked, tmp_path / "out", work=work)
    require_same_files(tmp_path / "out", expected)
    assert facts(again) == facts(result)
    # A step of a heal opens the layer that is healed, and before it those that the dense stream passes.
    assert before.total() + behind.total() <= by_one + 3
    assert not list(work.rglob("walk-*"))


def facts(result: PruneResult) -> dict[str, Any]:
    facts: dict[str, Any] = result.model_dump(exclude={"seconds", "peak_rss_bytes"})
    return facts


def comparable(events: list[Event]) -> list[Event]:
    kept: list[Event] = []
    for event in events:
        if isinstance(event, LayerPruned):
            kept.append(LayerPruned(event.layer, event.error, event.precision, event.refit_damping, 0.0))
        elif not isinstance(event, Progress | StageStarted):
            kept.append(event)
    return kept


@contextmanager
def counting_layers(most: int | None = None) -> Iterator[Counter[int]]:
    """Count how often each layer is opened; when that is more than `most`, it fails."""
    opened: Counter[int] = Counter()
    lend = ResidentModel.open

    @contextmanager
    def counted(model: ResidentModel, index: int) -> Iterator[nn.Module]:
        opened[index] += 1
        if most is not None and opened.total() > most:
            raise Interrupted
        with lend(model, index) as layer:
            yield layer

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ResidentModel, "open", counted)
        yield opened


def test_pruned_layers_are_not_pruned_again(tiny_llama: Path, tmp_path: Path, undisturbed: Any) -> None:
    asked, work = recipe(tiny_llama, "osscar"), tmp_path / "work"
    with pytest.raises(Interrupted):
        prune(asked, tmp_path / "out", work=work, on_event=Interruption(LayerPruned, 4))
    with counting_layers() as opened:
        prune(asked, tmp_path / "out", work=work)
    # The last layer is pruned again, for it was told of before it was kept; then all are measured and saved.
    assert opened[0] == opened[2] < opened[3]
    assert opened.total() < undisturbed["osscar"][3] / 2


def test_a_search_is_not_searched_again(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, work = recipe(tiny_llama, "depth"), tmp_path / "work"
    with pytest.raises(Interrupted):
        prune(asked, tmp_path / "out", work=work, on_event=Interruption(CandidateScored, 7))
    tried: list[tuple[int, ...]] = []
    heal = depth_prune.heal
    monkeypatch.setattr(
        depth_prune, "heal", lambda *args, **kwargs: (tried.append(args[1]), heal(*args, **kwargs))[1]
    )
    monkeypatch.setattr("pruning_core.depth.sharing.score_cuts", None)
    result = prune(asked, tmp_path / "out", work=work)
    # Two trials were kept, and the third had been told of; only what is healed for good is healed now.
    assert tried == [tuple(result.removed_layers)]


def test_another_recipe_in_the_same_folder_begins_anew(
    tiny_llama: Path, tmp_path: Path, undisturbed: Any
) -> None:
    work = tmp_path / "work"
    other = recipe(tiny_llama, "osscar", options={"producer_steps": 0})
    with pytest.raises(Interrupted):
        prune(other, tmp_path / "out", work=work, on_event=Interruption(LayerPruned, 3))
    prune(recipe(tiny_llama, "osscar"), tmp_path / "out", work=work)
    require_same_files(tmp_path / "out", undisturbed["osscar"][0])


def test_a_model_that_was_exchanged_meanwhile_begins_anew(
    tiny_llama: Path, tmp_path: Path, undisturbed: Any
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in tiny_llama.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    asked, work = recipe(folder, "osscar"), tmp_path / "work"
    with pytest.raises(Interrupted):
        prune(asked, tmp_path / "out", work=work, on_event=Interruption(LayerPruned, 3))
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with counting_layers() as opened:
        prune(asked, tmp_path / "out", work=work)
    assert opened.total() == undisturbed["osscar"][3]


def test_layers_that_no_page_knows_of_do_not_count(tmp_path: Path, meter: Meter) -> None:
    ledger = Ledger.open(tmp_path, {})
    layers = ledger.layers
    assert layers is not None
    shelf = Shelf("device", CPU)
    layers.put(0, nn.Linear(2, 2))
    ledger.commit(1, ["one"], {"hidden": shelf.keep(torch.arange(3.0))}, meter)
    layers.put(1, nn.Linear(2, 2))
    again = Ledger.open(tmp_path, {})
    assert list(again.layers or ()) == [0]
    walk = again.resume(meter)
    assert walk is not None
    assert (walk.next_layer, walk.told, walk.tensor("hidden").tolist()) == (1, ["one"], [0, 1, 2])


def test_a_page_that_was_not_finished_is_not_read(tmp_path: Path, meter: Meter) -> None:
    ledger = Ledger.open(tmp_path, {})
    shelf = Shelf("device", CPU)
    ledger.commit(1, 1, {"hidden": shelf.keep(torch.ones(1))}, meter)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pruning_core.tensor_file.os.fsync", lambda _: (_ for _ in ()).throw(Interrupted))
        with pytest.raises(Interrupted):
            ledger.commit(2, 2, {"hidden": shelf.keep(torch.zeros(1))}, meter)
    walk = Ledger.open(tmp_path, {}).resume(meter)
    assert walk is not None
    assert walk.tensor("hidden").tolist() == [1]


@pytest.mark.parametrize("loss", [2.5, float("inf"), 0.1 + 0.2])
def test_an_answer_is_the_same_to_the_last_bit(tmp_path: Path, meter: Meter, loss: float) -> None:
    kind = tuple[float, list[LayerHealed]]
    healed = LayerHealed(3, 0.1, 0.003)
    given = Ledger.open(tmp_path, {}).recall("answer", kind, lambda: (loss, [healed]), meter)
    known = Ledger.open(tmp_path, {}).recall("answer", kind, lambda: (0.0, list[LayerHealed]()), meter)
    assert given == known == (loss, [healed])


def test_who_lost_his_folder_cannot_write_into_his_successors(tmp_path: Path, meter: Meter) -> None:
    zombie = Ledger.open(tmp_path / "first", {})
    (tmp_path / "first").rename(tmp_path / "second")
    with pytest.raises(FileNotFoundError):
        zombie.commit(1, None, {}, meter)
    with pytest.raises(FileNotFoundError):
        zombie.recall("answer", float, lambda: 1.0, meter)
    assert isinstance(zombie.layers, LayerFiles)
    with pytest.raises(FileNotFoundError):
        zombie.layers.put(0, nn.Linear(2, 2))
    assert not (tmp_path / "first").exists()


def test_progress_goes_on_where_it_was(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pruning_core.progress.REPORT_EVERY_SECONDS", 0)
    asked, work = recipe(tiny_llama, "osscar"), tmp_path / "work"
    first: list[Event] = []
    interruption = Interruption(LayerPruned, 4)

    def listen(event: Event) -> None:
        first.append(event)
        interruption(event)

    with pytest.raises(Interrupted):
        prune(asked, tmp_path / "out", work=work, on_event=listen)
    second: list[Event] = []
    prune(asked, tmp_path / "out", work=work, on_event=second.append)
    before = [event.fraction for event in first if isinstance(event, Progress)]
    behind = [event.fraction for event in second if isinstance(event, Progress)]
    assert behind == sorted(behind)
    # Less than a layer was lost of four.
    assert before[-1] - 0.25 < behind[0] < behind[-1] == pytest.approx(1.0, abs=0.02)
