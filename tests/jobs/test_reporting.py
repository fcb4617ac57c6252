from typing import TYPE_CHECKING

import pytest

from jobs import store
from jobs.states import Stage, State
from jobs.store import Event

if TYPE_CHECKING:
    from jobs.models import Job
    from jobs.store import Lease
    from tests.jobs.conftest import Desk


@pytest.fixture
def lease(desk: "Desk") -> "Lease":
    return desk.start()


def _progress(desk: "Desk", lease: "Lease", fraction: float | None, eta: float | None) -> "Job":
    store.record(desk.engine, lease, [Event("progress", {"fraction": fraction, "eta_seconds": eta})])
    return desk.job(lease.job_id)


def test_stages_and_the_dense_model_change_the_job_and_are_kept(desk: "Desk", lease: "Lease") -> None:
    dense = {"perplexity": 21.6, "parameters": 1000, "dtype": "float32"}
    store.record(desk.engine, lease, [Event("stage", {"stage": "pruning"}), Event("dense", dense)])
    job = desk.job(lease.job_id)
    assert job.stage == Stage.PRUNING
    assert (job.perplexity_before, job.parameters_before, job.dtype) == (21.6, 1000, "float32")
    stage, kept = store.events(desk.engine, lease.job_id)[1:]
    assert (stage.kind, stage.data) == ("stage", {"stage": "pruning"})
    assert (kept.kind, kept.data) == ("dense", dense)


def test_other_kinds_are_kept_in_order_and_change_nothing(desk: "Desk", lease: "Lease") -> None:
    before = desk.job(lease.job_id)
    store.record(
        desk.engine,
        lease,
        [
            Event("layer", {"layer": 0}),
            Event("perplexity", {"perplexity": 22.0}),
            Event("warning", {"text": "hm"}),
        ],
    )
    assert desk.kinds(lease.job_id) == ["claimed", "layer", "perplexity", "warning"]
    after = desk.job(lease.job_id)
    assert (after.stage, after.progress, after.perplexity_before) == (before.stage, 0, None)


def test_progress_is_on_the_job_and_leaves_no_event(desk: "Desk", lease: "Lease") -> None:
    job = _progress(desk, lease, 0.4, 310.4)
    assert (job.progress, job.eta_seconds) == (0.4, 310)
    assert desk.kinds(lease.job_id) == ["claimed"]


def test_progress_never_goes_back_within_an_attempt(desk: "Desk", lease: "Lease") -> None:
    _progress(desk, lease, 0.4, 300)
    assert _progress(desk, lease, 0.3, 350).progress == 0.4
    batch = [Event("progress", {"fraction": fraction, "eta_seconds": 1}) for fraction in (0.5, 0.7, 0.6)]
    store.record(desk.engine, lease, batch)
    assert desk.job(lease.job_id).progress == 0.7
    store.hand_back(desk.engine, lease, "SIGTERM")
    again = desk.claim(lease.job_id)
    assert _progress(desk, again, 0.1, 900).progress == 0.1


def test_progress_takes_what_arithmetic_makes_of_the_ends(desk: "Desk", lease: "Lease") -> None:
    job = _progress(desk, lease, float("nan"), float("inf"))
    assert (job.progress, job.eta_seconds) == (0, None)
    job = _progress(desk, lease, 1.0000000002, -0.7)
    assert (job.progress, job.eta_seconds) == (1, 0)


def test_what_json_or_postgres_cannot_hold_is_replaced(desk: "Desk", lease: "Lease") -> None:
    data = {
        "error": float("nan"),
        "nested": [{"a": float("-inf")}, (1, 2.5, True, None)],
        "text": "a\x00b\ud800c",
    }
    store.record(desk.engine, lease, [Event("layer", data)])
    kept = store.events(desk.engine, lease.job_id)[-1].data
    assert kept == {"error": None, "nested": [{"a": None}, [1, 2.5, True, None]], "text": "a\ufffdb\ufffdc"}


def test_a_dense_model_that_diverges_has_no_perplexity(desk: "Desk", lease: "Lease") -> None:
    dense = {"perplexity": float("nan"), "parameters": 1000, "dtype": "float16"}
    store.record(desk.engine, lease, [Event("dense", dense)])
    assert desk.job(lease.job_id).perplexity_before is None
    assert store.events(desk.engine, lease.job_id)[-1].data["perplexity"] is None


@pytest.mark.parametrize("bad", [Event("stage", {"stage": "dreaming"}), Event("layer", {"object": object()})])
def test_a_batch_is_written_whole_or_not_at_all(bad: Event, desk: "Desk", lease: "Lease") -> None:
    before = desk.snapshot()
    good = [Event("progress", {"fraction": 0.5, "eta_seconds": 1}), Event("layer", {"layer": 0})]
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it is, nothing may be written
        store.record(desk.engine, lease, [*good, bad])
    assert desk.snapshot() == before


def test_an_empty_batch_is_fine(desk: "Desk", lease: "Lease") -> None:
    store.record(desk.engine, lease, [])
    assert desk.job(lease.job_id).state == State.RUNNING
