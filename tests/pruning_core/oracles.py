"""The slow and obvious way, in float64, to compare with."""

import torch
from torch import Tensor

from pruning_core.osscar.layer import NarrowMlp, narrow
from pruning_core.repair.moments import Moments


def eliminate_one_at_a_time(hessian: Tensor, targets: Tensor, keep: int) -> list[int]:
    """Remove the channel whose removal costs least, solving the whole problem anew for every candidate."""
    kept = list(range(len(hessian)))
    while len(kept) > keep:
        costs = [objective(hessian, targets, [k for k in kept if k != channel]) for channel in kept]
        del kept[int(torch.tensor(costs).argmin())]
    return kept


def downdate_one_at_a_time(hessian: Tensor, weight: Tensor, keep: int) -> list[int]:
    """Remove the channel with the smallest ‖W_j‖² / [H⁻¹]_jj, then downdate H⁻¹ and W whole."""
    inverse, weight = torch.linalg.inv(hessian), weight.clone()
    alive = torch.ones(len(hessian), dtype=torch.bool)
    for _ in range(len(hessian) - keep):
        scores = weight.square().sum(dim=1) / inverse.diagonal()
        j = int(torch.where(alive, scores, torch.inf).argmin())
        alive[j] = False
        column, pivot = inverse[:, j].clone(), inverse[j, j].clone()
        weight -= torch.outer(column, weight[j].clone()) / pivot
        inverse -= torch.outer(column, column) / pivot
        inverse[j, j] = 1.0
    return alive.nonzero()[:, 0].tolist()


def objective(hessian: Tensor, targets: Tensor, kept: list[int]) -> float:
    """tr(Wᵀ H W) − 2 tr(Wᵀ G) at the best W on the channels `kept`, which is −tr(G_Sᵀ H_SS⁻¹ G_S)."""
    best = torch.linalg.solve(hessian[kept][:, kept], targets[kept])
    return -(targets[kept] * best).sum().item()


def random_problem(channels: int, outputs: int, tokens: int, seed: int) -> tuple[Tensor, Tensor]:
    """Correlated activations' Gram matrix, [channels, channels], and a consumer, [channels, outputs]."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels, channels, generator=generator, dtype=torch.float64)
    activations = torch.randn(tokens, channels, generator=generator, dtype=torch.float64) @ mixing
    weight = torch.randn(channels, outputs, generator=generator, dtype=torch.float64)
    return activations.T @ activations, weight


def paper(gram: Tensor, weight: Tensor, keep: int, damping: float) -> NarrowMlp:
    """Ours with the paper's target and one λ, of which it needs nothing but AᵀA."""
    moments = Moments.of_gram(gram, weight)
    return narrow(moments, weight, keep=keep, damping=damping, refit_dampings=[damping])
