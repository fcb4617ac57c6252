"""What an attempt did is there for the next one, and gone with the job."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import Engine

from jobs import store
from jobs.models import JobEvent
from jobs.states import State
from jobs.store import Lease
from registry.local import LocalRegistry
from tests.pruning_core.interruption import require_same_files
from tests.tiny_models import make_tiny_llama
from tests.worker.conftest import Bench, eventually
from worker.claim_folders import (
    checkpoint_of,
    discard_earlier_claims,
    name_of,
    sweep_claims,
    take_work_folder,
)


def test_a_job_that_was_handed_back_goes_on_and_gives_the_very_same_checkpoint(
    bench: Bench, models: Path
) -> None:
    many_layers = make_tiny_llama(models / "many-layers", num_hidden_layers=16)
    undisturbed = bench.submit(many_layers, samples=64, options={"producer_steps": 0})
    bench.run(undisturbed)
    job_id = bench.submit(many_layers, samples=64, options={"producer_steps": 0})
    with bench.running(job_id):
        eventually(lambda: len(pruned(bench, job_id)) >= 3, seconds=60)
        bench.workplace.stopping.set()
    (folder,) = bench.at_work()
    assert folder.name.startswith(str(job_id))
    interrupted = len(pruned(bench, job_id))
    bench.workplace.stopping.clear()
    bench.run(job_id)
    assert bench.job(job_id).state is State.SUCCEEDED
    events = pruned(bench, job_id)
    first, second = events[:interrupted], events[interrupted:]
    assert [event.data["layer"] for event in second] == list(range(len(second)))
    # The very same events: nobody takes as many seconds twice. The last was perhaps not kept.
    assert [event.data for event in first[:-1]] == [event.data for event in second[: interrupted - 1]]
    require_same_weights(bench, job_id, undisturbed)
    assert bench.at_work() == []


def pruned(bench: Bench, job_id: Any) -> list[JobEvent]:
    return store.events(bench.engine, job_id, ["layer"])


def require_same_weights(bench: Bench, *job_ids: Any) -> None:
    folders = [
        Path(artifact["location"]) for artifact in (bench.job(one).artifact for one in job_ids) if artifact
    ]
    for folder in folders:
        # They name the job, and tell how long it took.
        for told in ("manifest.json", "manifest.sha1", "secateur.json", "README.md"):
            (folder / told).unlink()
    require_same_files(*folders)


def lease(job_id: Any, claim: int) -> Lease:
    return Lease(job_id, uuid4(), 1, {}, claim)


def test_the_last_earlier_claims_folder_is_taken_and_those_before_it_go(tmp_path: Path) -> None:
    job_id = uuid4()
    other = take_work_folder(tmp_path, lease(uuid4(), 3))
    first = take_work_folder(tmp_path, lease(job_id, 9))
    (first / "old").touch()
    # As if a machine had died in between.
    kept = first.rename(tmp_path / f"{job_id}-{1:020d}")
    second = take_work_folder(tmp_path, lease(uuid4(), 10)).rename(tmp_path / f"{job_id}-{10:020d}")
    (second / "new").touch()
    third = take_work_folder(tmp_path, lease(job_id, 100))
    assert [file.name for file in third.iterdir()] == ["new"]
    assert sorted(tmp_path.iterdir()) == sorted([other, third])
    assert not kept.exists()


def test_who_is_late_does_not_take_his_successors_folder(tmp_path: Path) -> None:
    late = lease(uuid4(), 5)
    theirs = take_work_folder(tmp_path, replace(late, claim=6))
    ours = take_work_folder(tmp_path, late)
    assert theirs.exists()
    assert ours != theirs
    # It goes with the next one who comes.
    assert take_work_folder(tmp_path, replace(late, claim=7)).exists()
    assert len(list(tmp_path.iterdir())) == 1


def test_what_an_earlier_claim_staged_goes_and_what_a_later_one_stages_stays(tmp_path: Path) -> None:
    ours = lease(uuid4(), 10)
    registry = LocalRegistry(tmp_path)
    claims = [name_of(replace(ours, claim=claim)) for claim in (2, 10, 11)]
    other = name_of(lease(uuid4(), 1))
    for claim in (*claims, other):
        registry.stage(claim)
    discard_earlier_claims(registry, ours)
    assert registry.claims() == sorted([*claims[1:], other])


def test_folders_of_jobs_that_ended_elsewhere_go(bench: Bench, tiny_llama: Path, engine: Engine) -> None:
    root, registry = bench.settings.work_root, LocalRegistry(bench.settings.registry_root)
    ended, waiting = bench.submit(tiny_llama), bench.submit(tiny_llama)
    for job_id in (ended, waiting, uuid4()):
        take_work_folder(root, lease(job_id, 1))
        registry.stage(name_of(lease(job_id, 2)))
    (root / "notes").mkdir()
    (root / "of-some-body-else-s-own").mkdir()
    store.request_cancel(engine, ended)
    sweep_claims(engine, root, registry)
    assert registry.claims() == [f"{waiting}-{2:020d}"]
    assert [folder.name for folder in sorted(root.iterdir())] == sorted(
        [f"{waiting}-{1:020d}", "notes", "of-some-body-else-s-own"]
    )


def test_what_was_published_without_success_goes_and_what_succeeded_stays(
    bench: Bench, tiny_llama: Path
) -> None:
    succeeded, failed = bench.submit(tiny_llama), bench.submit(tiny_llama)
    bench.run(succeeded)
    registry = LocalRegistry(bench.settings.registry_root)
    # As if its last worker had died between the checkpoint and the word.
    held = store.claim(bench.engine, failed, "somebody-else", 60)
    assert held is not None
    (registry.stage(name_of(held)) / "config.json").write_text("{}")
    registry.publish(name_of(held), str(failed), checkpoint_of(failed, held.request))
    for job_id, claim in ((succeeded, 3), (failed, held.claim)):
        take_work_folder(bench.settings.work_root, lease(job_id, claim))
    sweep_claims(bench.engine, bench.settings.work_root, registry)
    assert len(bench.published()) == 2
    store.fail(bench.engine, held, {"type": "/problems/worker-lost"})
    sweep_claims(bench.engine, bench.settings.work_root, registry)
    (left,) = bench.published()
    assert left.name == str(succeeded)
    assert bench.at_work() == bench.staged() == []


def test_nothing_is_swept_where_nothing_is(tmp_path: Path, engine: Engine) -> None:
    sweep_claims(engine, tmp_path / "nowhere", LocalRegistry(tmp_path / "no registry"))
