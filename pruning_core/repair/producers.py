"""Fit what computes the channels that stay, so that the narrow MLP comes closer to its target than a refit can.

With V the consumer's rows, a gated MLP gives (act(XG) ∘ XU) V. The refit of V is linear least squares; G and U enter
through products, so they are fitted by Gauss-Newton steps on ‖T − (act(XG) ∘ XU) V‖², each from sums over the tokens.
The curvature of one producer, a matrix over inputs × channels on both sides, is taken as the Kronecker product of its
two factors (Martens & Grosse, "Optimizing Neural Networks with Kronecker-factored Approximate Curvature", ICML 2015,
equation 5), so that a step is two solves:

    Δ = (XᵀX/n)⁻¹ (Xᵀ(EVᵀ ∘ J)/n) (JᵀJ/n ∘ VVᵀ)⁻¹,   J = ∂A/∂(XG), E the residual.

How far to go along the producers' steps is a least squares in as many unknowns as there are producers. Between steps
V is refitted (variable projection: Golub & Pereyra, 1973).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pruning_core.models.mlp import MlpChannels
from pruning_core.repair.moments import MomentSums, Square, at_least_float32
from pruning_core.repair.regression import damp, factorise, refit

INPUT_DAMPING, CHANNEL_DAMPING = 0.01, 0.1
"""Of the two factors of the curvature, as shares of their mean diagonals."""

EVERY = 4
"""One batch in so many finds how far to go."""


@dataclass(frozen=True)
class Example:
    """A batch of what the MLP gets, [tokens, inputs], and should give, [tokens, outputs], its bias aside.

    `scale`, [tokens, 1], is what its output is multiplied with before it is compared, as an expert's is.
    """

    inputs: Tensor
    targets: Tensor
    scale: Tensor | None = None


def fit_producers(
    channels: MlpChannels,
    examples: Sequence[Example],
    *,
    steps: int,
    refit_damping: float,
    shift: Tensor | None,
    solver: torch.device,
) -> None:
    """Change the producers of an MLP, in place, so that it gives the examples' targets.

    The consumer stays as it is, and wants a refit afterwards.

    Args:
        channels: of an MLP that was narrowed and refitted.
        examples: enough of them to determine the producers, see `budgets.FIT_TOKENS_PER_INPUT`.
        steps: how many.
        refit_damping: λ of the refits between steps, as a share of the mean of AᵀA's diagonal.
        shift: [outputs], what the refit added to the consumer's bias.
        solver: where sums over the tokens are kept, and solved.
    """
    producers = [at_least_float32(matrix) for matrix in channels.read_producers()]
    batches = [_Batch.of(example, len(producers[0])) for example in examples]
    anchor = value = at_least_float32(channels.consumer_weight())
    for step in range(steps):
        if step:
            value, shift = _refit(
                batches, channels, producers, anchor, refit_damping, solver, biased=shift is not None
            )
        model = _Model(channels, producers, value, shift)
        directions = _directions(batches, model, solver)
        lengths = _lengths(batches[::EVERY], model, directions)
        producers = [
            matrix + length * direction
            for matrix, length, direction in zip(producers, lengths, directions, strict=True)
        ]
    channels.write_producers(producers)


@dataclass(frozen=True)
class _Batch:
    inputs: Tensor
    targets: Tensor
    scale: Tensor | None

    @classmethod
    def of(cls, example: Example, rows: int) -> "_Batch":
        inputs = at_least_float32(example.inputs)
        if rows > inputs.shape[1]:
            inputs = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], dim=1)
        scale = None if example.scale is None else at_least_float32(example.scale)
        return cls(inputs, at_least_float32(example.targets), scale)

    def activations(self, channels: MlpChannels, produced: Sequence[Tensor]) -> Tensor:
        """A as the consumer's output counts, from what each producer gives, [tokens, channels] each."""
        activations = channels.combine(produced)
        return activations if self.scale is None else activations * self.scale


@dataclass(frozen=True)
class _Model:
    """The MLP at one point of the fit."""

    channels: MlpChannels
    producers: Sequence[Tensor]
    value: Tensor
    shift: Tensor | None

    @torch.enable_grad()
    def linearise(self, batch: _Batch) -> tuple[Tensor, Sequence[Tensor]]:
        """The residual E, [tokens, outputs], and J of each producer, [tokens, channels]."""
        produced = [(batch.inputs @ producer).requires_grad_() for producer in self.producers]
        activations = batch.activations(self.channels, produced)
        # The MLP is elementwise between producers and consumer, so the gradient of the sum holds every derivative.
        slopes = torch.autograd.grad(activations.sum(), produced)
        residual = batch.targets - activations.detach() @ self.value
        return (residual if self.shift is None else residual - self.shift.to(residual)), slopes


def _directions(batches: Sequence[_Batch], model: _Model, solver: torch.device) -> list[Tensor]:
    """A Gauss-Newton step of each producer, [inputs, channels]."""
    rows, channels = model.producers[0].shape
    inputs = Square(rows, solver)
    gradients = [torch.zeros(rows, channels, dtype=torch.float64, device=solver) for _ in model.producers]
    slopes_squared = [Square(channels, solver) for _ in model.producers]
    tokens = sum(len(batch.inputs) for batch in batches)
    for batch in batches:
        residual, slopes = model.linearise(batch)
        pulled = residual @ model.value.T
        inputs.add(batch.inputs)
        for index, slope in enumerate(slopes):
            gradients[index] += (batch.inputs.T @ (pulled * slope)).to(solver)
            slopes_squared[index].add(slope)
    value = model.value.to(solver)
    values = (value @ value.T).double()
    by_inputs = _factor(inputs.total() / tokens, INPUT_DAMPING)
    steps = []
    for gradient, squared in zip(gradients, slopes_squared, strict=True):
        by_channels = _factor(squared.total() / tokens * values, CHANNEL_DAMPING)
        half = torch.cholesky_solve(gradient / tokens, by_inputs)
        steps.append(torch.cholesky_solve(half.T, by_channels).T.to(model.value))
    return steps


def _lengths(batches: Sequence[_Batch], model: _Model, directions: Sequence[Tensor]) -> list[float]:
    """How far to go along each direction: least squares on the linearised outputs."""
    count = len(directions)
    products = torch.zeros(count, count, dtype=torch.float64)
    wanted = torch.zeros(count, dtype=torch.float64)
    for batch in batches:
        residual, slopes = model.linearise(batch)
        changes = torch.stack(
            [
                ((slope * (batch.inputs @ direction)) @ model.value).flatten()
                for slope, direction in zip(slopes, directions, strict=True)
            ]
        )
        products += (changes @ changes.T).cpu()
        wanted += (changes @ residual.flatten()).cpu()
    lengths: list[float] = torch.linalg.lstsq(products, wanted, driver="gelsd").solution.tolist()
    return lengths


def _refit(  # noqa: PLR0917  a fit's state
    batches: Sequence[_Batch],
    channels: MlpChannels,
    producers: Sequence[Tensor],
    anchor: Tensor,
    damping: float,
    solver: torch.device,
    *,
    biased: bool,
) -> tuple[Tensor, Tensor | None]:
    sums = MomentSums(len(anchor), anchor.shape[1], solver)
    for batch in batches:
        produced = [batch.inputs @ producer for producer in producers]
        sums.add(batch.activations(channels, produced), batch.targets)
    everything = torch.arange(len(anchor), device=solver)
    refitted = refit(sums.total(anchor), None, anchor, everything, [damping], biased=biased)
    return refitted.weight.to(anchor), refitted.shift


def _factor(curvature: Tensor, damping: float) -> Tensor:
    _, factor = factorise(damp(curvature, damping))
    return factor
