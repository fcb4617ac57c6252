"""OSSCAR on one layer, against the definition."""

import pytest
import torch

from pruning_core.osscar.elimination import eliminate
from pruning_core.osscar.layer import damp, narrow, refit
from tests.pruning_core.oracles import eliminate_one_at_a_time, objective, random_problem


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tokens", [200, 12])
def test_the_same_channels_stay_as_when_every_candidate_is_solved_anew(seed: int, tokens: int) -> None:
    gram, weight = random_problem(channels=24, outputs=10, tokens=tokens, seed=seed)
    hessian = damp(gram, 0.01)
    kept = eliminate(hessian, weight, keep=11, block=4)
    assert kept.tolist() == eliminate_one_at_a_time(hessian, hessian @ weight, keep=11)


@pytest.mark.parametrize("block", [1, 3, 7, 64])
def test_the_block_size_changes_nothing(block: int) -> None:
    gram, weight = random_problem(channels=120, outputs=30, tokens=500, seed=1)
    hessian = damp(gram, 0.01)
    assert eliminate(hessian, weight, keep=50, block=block).equal(
        eliminate(hessian, weight, keep=50, block=70)
    )


def test_channels_that_calibration_never_woke_go_first() -> None:
    gram, weight = random_problem(channels=32, outputs=8, tokens=100, seed=2)
    dead = [3, 4, 17, 31]
    gram[dead, :] = 0
    gram[:, dead] = 0
    narrowed = narrow(gram, weight, keep=28, damping=0.01)
    assert not set(dead) & set(narrowed.kept.tolist())
    # They carried nothing, so their going costs only what the ridge costs.
    assert narrowed.error < 1e-3


def test_of_two_equal_channels_one_goes_and_the_other_takes_over_its_weight() -> None:
    gram, weight = random_problem(channels=16, outputs=4, tokens=200, seed=3)
    double = [*range(16), 5]
    gram, weight = gram[double][:, double], weight[double]
    narrowed = narrow(gram, weight, keep=16, damping=1e-9)
    kept = narrowed.kept.tolist()
    assert (5 in kept) != (16 in kept)
    survivor = kept.index(5 if 5 in kept else 16)
    assert torch.allclose(narrowed.weight[survivor], weight[5] + weight[16], rtol=1e-3)


def test_an_mlp_that_calibration_never_woke_is_cut_without_a_crash() -> None:
    narrowed = narrow(torch.zeros(8, 8, dtype=torch.float64), torch.ones(8, 3), keep=4, damping=0.01)
    assert len(narrowed.kept) == 4
    assert narrowed.weight.isfinite().all()
    assert narrowed.error == 0.0


def test_fewer_tokens_than_channels_give_a_finite_refit() -> None:
    gram, weight = random_problem(channels=64, outputs=8, tokens=5, seed=4)
    narrowed = narrow(gram, weight, keep=32, damping=0.01)
    assert narrowed.weight.isfinite().all()
    assert 0 <= narrowed.error < 1


def test_the_refit_is_the_best_there_is_on_the_kept_channels() -> None:
    gram, weight = random_problem(channels=20, outputs=6, tokens=300, seed=5)
    hessian = damp(gram, 0.01)
    targets, kept = hessian @ weight, torch.tensor([0, 2, 3, 11, 19])
    best = refit(hessian, targets, kept)
    for nudge in torch.randn(5, 5, 6, dtype=torch.float64) * 1e-3:
        nudged = best + nudge
        value = (nudged * (hessian[kept][:, kept] @ nudged)).sum() - 2 * (nudged * targets[kept]).sum()
        assert value > objective(hessian, targets, kept.tolist())


def test_the_error_is_that_of_the_outputs() -> None:
    activations = torch.randn(200, 12, dtype=torch.float64)
    weight = torch.randn(12, 5, dtype=torch.float64)
    narrowed = narrow(activations.T @ activations, weight, keep=7, damping=0.01)
    dense = activations @ weight
    pruned = activations[:, narrowed.kept] @ narrowed.weight
    assert narrowed.error == pytest.approx(
        ((pruned - dense).norm() ** 2 / dense.norm() ** 2).item(), rel=1e-9
    )


@pytest.mark.parametrize("seed", range(3))
def test_it_loses_less_than_keeping_the_largest_channels_with_the_same_refit(seed: int) -> None:
    gram, weight = random_problem(channels=48, outputs=16, tokens=400, seed=seed)
    hessian = damp(gram, 0.01)
    kept = eliminate(hessian, weight, keep=24)
    largest = (gram.diagonal().sqrt() * weight.norm(dim=1)).topk(24).indices.sort().values
    targets = hessian @ weight
    assert objective(hessian, targets, kept.tolist()) < objective(hessian, targets, largest.tolist())


def test_a_gram_matrix_that_is_not_positive_definite_is_refused() -> None:
    with pytest.raises(torch.linalg.LinAlgError):
        eliminate(-torch.eye(4, dtype=torch.float64), torch.ones(4, 2, dtype=torch.float64), keep=2)
