"""OSSCAR on one layer, against the definition."""

import pytest
import torch

from pruning_core.osscar.elimination import eliminate
from pruning_core.osscar.layer import narrow
from pruning_core.repair.moments import Moments, MomentSums
from pruning_core.repair.regression import Regression, damp, factorise, solve_on
from tests.pruning_core.oracles import (
    downdate_one_at_a_time,
    eliminate_one_at_a_time,
    objective,
    paper,
    random_problem,
)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tokens", [200, 12])
def test_the_same_channels_stay_as_when_every_candidate_is_solved_anew(seed: int, tokens: int) -> None:
    gram, weight = random_problem(channels=24, outputs=10, tokens=tokens, seed=seed)
    hessian = damp(gram, 0.01)
    elimination = eliminate(hessian, weight, keep=11, block=4)
    assert elimination.kept.tolist() == eliminate_one_at_a_time(hessian, hessian @ weight, keep=11)


@pytest.mark.parametrize("block", [1, 3, 7, 64])
def test_the_block_size_changes_nothing(block: int) -> None:
    gram, weight = random_problem(channels=120, outputs=30, tokens=500, seed=1)
    hessian = damp(gram, 0.01)
    expected = eliminate(hessian, weight, keep=50, block=70)
    assert eliminate(hessian, weight, keep=50, block=block).kept.equal(expected.kept)


def test_channels_that_calibration_never_woke_go_first() -> None:
    gram, weight = random_problem(channels=32, outputs=8, tokens=100, seed=2)
    dead = [3, 4, 17, 31]
    gram[dead, :] = 0
    gram[:, dead] = 0
    narrowed = paper(gram, weight, keep=28, damping=0.01)
    assert not set(dead) & set(narrowed.kept.tolist())
    # They carried nothing, so their going costs only what the ridge costs.
    assert narrowed.refit.error < 1e-3


def test_of_two_equal_channels_one_goes_and_the_other_takes_over_its_weight() -> None:
    gram, weight = random_problem(channels=16, outputs=4, tokens=200, seed=3)
    double = [*range(16), 5]
    gram, weight = gram[double][:, double], weight[double]
    narrowed = paper(gram, weight, keep=16, damping=1e-9)
    kept = narrowed.kept.tolist()
    assert (5 in kept) != (16 in kept)
    survivor = kept.index(5 if 5 in kept else 16)
    assert torch.allclose(narrowed.refit.weight[survivor], weight[5] + weight[16], rtol=1e-3)


def test_an_mlp_that_calibration_never_woke_is_cut_without_a_crash() -> None:
    nothing, weight = (torch.zeros(8, 8, dtype=torch.float64), torch.ones(8, 3, dtype=torch.float64))
    narrowed = paper(nothing, weight, keep=4, damping=0.01)
    assert len(narrowed.kept) == 4
    assert narrowed.refit.weight.isfinite().all()
    assert narrowed.refit.error == 0.0


def test_fewer_tokens_than_channels_give_a_finite_refit() -> None:
    gram, weight = random_problem(channels=64, outputs=8, tokens=5, seed=4)
    narrowed = paper(gram, weight, keep=32, damping=0.01)
    assert narrowed.refit.weight.isfinite().all()
    assert 0 <= narrowed.refit.error < 1


def test_the_refit_is_the_best_there_is_on_the_kept_channels() -> None:
    gram, weight = random_problem(channels=20, outputs=6, tokens=300, seed=5)
    hessian = damp(gram, 0.01)
    targets, kept = hessian @ weight, torch.tensor([0, 2, 3, 11, 19])
    best = solve_on(hessian, targets, kept)
    for nudge in torch.randn(5, 5, 6, dtype=torch.float64) * 1e-3:
        nudged = best + nudge
        value = (nudged * (hessian[kept][:, kept] @ nudged)).sum() - 2 * (nudged * targets[kept]).sum()
        assert value > objective(hessian, targets, kept.tolist())


def test_the_error_is_that_of_the_outputs() -> None:
    activations = torch.randn(200, 12, dtype=torch.float64)
    weight = torch.randn(12, 5, dtype=torch.float64)
    narrowed = paper(activations.T @ activations, weight, keep=7, damping=0.01)
    dense = activations @ weight
    pruned = activations[:, narrowed.kept] @ narrowed.refit.weight
    assert narrowed.refit.error == pytest.approx(
        ((pruned - dense).norm() ** 2 / dense.norm() ** 2).item(), rel=1e-9
    )


@pytest.mark.parametrize("seed", range(3))
def test_it_loses_less_than_keeping_the_largest_channels_with_the_same_refit(seed: int) -> None:
    gram, weight = random_problem(channels=48, outputs=16, tokens=400, seed=seed)
    hessian = damp(gram, 0.01)
    kept = eliminate(hessian, weight, keep=24).kept
    largest = (gram.diagonal().sqrt() * weight.norm(dim=1)).topk(24).indices.sort().values
    targets = hessian @ weight
    assert objective(hessian, targets, kept.tolist()) < objective(hessian, targets, largest.tolist())


def test_a_gram_matrix_that_is_not_positive_definite_is_refused() -> None:
    with pytest.raises(torch.linalg.LinAlgError):
        eliminate(-torch.eye(4, dtype=torch.float64), torch.ones(4, 2, dtype=torch.float64), keep=2)


def test_the_rise_it_counts_is_that_of_the_objective() -> None:
    gram, weight = random_problem(channels=60, outputs=12, tokens=300, seed=6)
    hessian = damp(gram, 0.01)
    targets = hessian @ weight
    elimination = eliminate(hessian, weight, keep=20)
    before, after = (
        objective(hessian, targets, kept) for kept in (list(range(60)), elimination.kept.tolist())
    )
    assert elimination.rise == pytest.approx(after - before, rel=1e-8)


@pytest.mark.parametrize("case", ["plain", "dead", "double", "low rank", "few tokens"])
@pytest.mark.parametrize("seed", range(3))
def test_it_reaches_the_objective_of_naive_downdates_in_float64(case: str, seed: int) -> None:
    gram, weight = random_problem(
        channels=200, outputs=40, tokens=40 if case == "few tokens" else 900, seed=seed
    )
    if case == "dead":
        gram[::7, :] = 0
        gram[:, ::7] = 0
    if case == "double":
        twice = [*range(150), *range(50)]
        gram, weight = gram[twice][:, twice], weight[twice]
    if case == "low rank":
        values, vectors = torch.linalg.eigh(gram)
        gram = (vectors[:, -60:] * values[-60:]) @ vectors[:, -60:].T
    hessian = damp(gram, 1e-3)
    targets = hessian @ weight
    expected = objective(hessian, targets, downdate_one_at_a_time(hessian, weight, keep=120))
    everything = objective(hessian, targets, list(range(200)))
    exact = objective(hessian, targets, eliminate(hessian, weight, keep=120).kept.tolist())
    assert exact == pytest.approx(expected, rel=1e-8)
    narrowed = paper(gram, weight, keep=120, damping=1e-3)
    ours = objective(hessian, targets, narrowed.kept.tolist())
    # What is lost, not the objective as a whole, which is large and the same for everybody.
    assert ours - everything <= (expected - everything) * (1 + 1e-4)


def test_where_float32_loses_count_it_says_that_it_used_float64() -> None:
    gram, weight = random_problem(channels=64, outputs=8, tokens=20, seed=7)
    easy = paper(gram, weight, keep=40, damping=1e-2)
    hard = paper(gram, weight, keep=40, damping=1e-11)
    assert (easy.precision, hard.precision) == ("float32", "float64")
    hessian = damp(gram, 1e-11)
    expected = downdate_one_at_a_time(hessian, weight, keep=40)
    reached, wanted = (objective(hessian, hessian @ weight, kept) for kept in (hard.kept.tolist(), expected))
    assert reached == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("biased", [False, True])
def test_the_refit_is_the_ridge_regression_on_the_target(biased: bool) -> None:
    generator = torch.Generator().manual_seed(8)
    activations = torch.randn(300, 12, generator=generator, dtype=torch.float64) + 0.5
    weight = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    target = activations @ weight + torch.randn(300, 5, generator=generator, dtype=torch.float64) + 2.0
    sums = MomentSums(12, 5, torch.device("cpu"))
    for rows in torch.arange(300).split(70):
        sums.add(activations[rows], target[rows])
    moments = sums.total(weight)
    narrowed = narrow(moments, weight, keep=7, damping=0.01, refit_dampings=[0.01], biased=biased)

    # Ridge regression as one least-squares problem with λ's rows below the data.
    kept = narrowed.kept
    columns = activations[:, kept]
    if biased:
        columns = columns - activations.mean(0)[kept]
    gram = moments.centred().gram if biased else moments.gram
    ridge = (0.01 * gram.diagonal().mean()).sqrt()
    offset = target.mean(0) if biased else 0.0
    left = torch.cat([columns, ridge * torch.eye(7, dtype=torch.float64)])
    right = torch.cat([target - offset, ridge * weight[kept]])
    expected = torch.linalg.lstsq(left, right).solution
    assert torch.allclose(narrowed.refit.weight, expected, rtol=1e-8, atol=1e-10)
    output = activations[:, kept] @ narrowed.refit.weight
    if narrowed.refit.shift is not None:
        output = output + narrowed.refit.shift
        assert torch.allclose(output.mean(0), target.mean(0), rtol=1e-8)
    assert (narrowed.refit.shift is not None) == biased
    assert narrowed.refit.error == pytest.approx(
        ((output - target).norm() ** 2 / target.norm() ** 2).item(), rel=1e-8
    )


def test_the_moments_add_up_what_float32_would_lose() -> None:
    sums = MomentSums(2, 1, torch.device("cpu"))
    sums.add(torch.full((1, 2), 4096.0), None)
    for _ in range(1000):
        sums.add(torch.full((1, 2), 1.0), None)
    moments = sums.total(torch.ones(2, 1))
    assert moments.gram.tolist() == [[4096.0**2 + 1000] * 2] * 2
    assert moments.activations.tolist() == [4096.0 + 1000] * 2


def test_the_moments_keep_what_a_large_mean_would_drown() -> None:
    generator = torch.Generator().manual_seed(10)
    activations = 1000 + 0.01 * torch.randn(4096, 16, generator=generator, dtype=torch.float64)
    targets = 500 + torch.randn(4096, 4, generator=generator, dtype=torch.float64)
    # As float32 holds them.
    activations, targets = activations.float().double(), targets.float().double()
    sums = MomentSums(16, 4, torch.device("cpu"))
    for rows in torch.arange(4096).split(1024):
        sums.add(activations[rows].float(), targets[rows].float())
    centred = sums.total(torch.zeros(16, 4)).centred()
    activations, targets = activations - activations.mean(0), targets - targets.mean(0)
    assert torch.allclose(centred.gram, activations.T @ activations, rtol=1e-4, atol=1e-5)
    assert torch.allclose(centred.cross, activations.T @ targets, rtol=1e-4, atol=1e-3)
    assert centred.energy.item() == pytest.approx(targets.square().sum().item(), rel=1e-5)


@pytest.mark.parametrize("smallest", [0.0, -1e-7, -1e-3])
def test_a_gram_matrix_that_rounding_left_indefinite_is_damped_until_it_has_a_factor(smallest: float) -> None:
    vectors, _ = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64))
    values = torch.linspace(1, 2, 12, dtype=torch.float64)
    values[0] = smallest
    hessian = (vectors * values) @ vectors.T
    damped, factor = factorise(hessian)
    assert torch.allclose(factor @ factor.T, damped)
    more = (damped - hessian).diagonal()
    assert 0 <= more.min() <= more.max() < 20 * max(-smallest, 1e-6)


def test_a_matrix_that_is_no_gram_matrix_has_none() -> None:
    with pytest.raises(torch.linalg.LinAlgError, match="far from positive semidefinite"):
        factorise(-torch.eye(4, dtype=torch.float64))


def test_the_gram_matrix_is_whole_where_it_has_several_panels() -> None:
    activations = torch.randn(40, 1200)
    sums = MomentSums(1200, 3, torch.device("cpu"))
    sums.add(activations, activations[:, :3])
    moments = sums.total(torch.zeros(1200, 3))
    exact = activations.double().T @ activations.double()
    assert torch.allclose(moments.gram, exact, rtol=1e-4, atol=1e-4)
    assert torch.allclose(moments.cross, exact[:, :3], rtol=1e-4, atol=1e-4)


def test_the_ridge_is_the_one_that_does_best_on_tokens_it_was_not_fitted_to() -> None:
    generator = torch.Generator().manual_seed(9)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weight, mixing = draw(30, 6), draw(30, 30)
    texts = [draw(tokens, 30) @ mixing for tokens in (60, 400)]
    # Noise in what should be given: with few tokens a strong ridge does better, with none of it a weak one.
    chosen = {}
    dampings = (0.001, 0.01, 0.1)
    for noise in (0.0, 300.0):
        moments = []
        for activations in texts:
            sums = MomentSums(30, 6, torch.device("cpu"))
            sums.add(activations, activations @ weight + noise * draw(len(activations), 6))
            moments.append(sums.total(weight))
        narrowed = narrow(
            moments[0], weight, keep=20, damping=0.001, refit_dampings=dampings, held_out=moments[1]
        )
        kept, refitted = narrowed.kept, narrowed.refit
        whole = Regression.of(moments[0] + moments[1], weight, centre=False)
        assert torch.allclose(refitted.weight, whole.solve(kept, refitted.damping))
        fitted, unseen = (Regression.of(part, weight, centre=False) for part in moments)
        errors = {damping: unseen.error(kept, fitted.solve(kept, damping)) for damping in dampings}
        assert errors[refitted.damping] == min(errors.values())
        assert refitted.held_out_error == pytest.approx(min(errors.values()) / moments[1].energy.item())
        chosen[noise] = refitted.damping
    assert chosen == {0.0: 0.001, 300.0: 0.1}


def test_several_ridges_want_something_to_choose_by() -> None:
    gram, weight = random_problem(channels=8, outputs=2, tokens=50, seed=0)
    with pytest.raises(ValueError, match="several ridges"):
        narrow(Moments.of_gram(gram, weight), weight, keep=4, damping=0.01, refit_dampings=[0.01, 0.1])


def test_the_error_of_a_regression_is_that_of_its_outputs() -> None:
    activations, target = torch.randn(50, 8, dtype=torch.float64), torch.randn(50, 3, dtype=torch.float64)
    weight, kept = torch.randn(8, 3, dtype=torch.float64), torch.tensor([1, 4, 6])
    rows = torch.randn(3, 3, dtype=torch.float64)
    energy = target.square().sum()
    regression = Regression(activations.T @ activations, activations.T @ target, energy, weight)
    expected = (activations[:, kept] @ rows - target).square().sum()
    assert regression.error(kept, rows) == pytest.approx(expected.item(), rel=1e-9)
