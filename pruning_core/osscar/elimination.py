"""Which channels to keep: OSSCAR's backward elimination, exact, a block of removals at a time.

Meng et al., "OSSCAR: One-Shot Structured Pruning in Vision and Language Models with Combinatorial Optimization",
ICML 2024 (arXiv 2403.12983). With H = AᵀA + λI and targets G, the best weight on a set S of channels
is W_S = H_SS⁻¹ G_S. Taking channel j out of S raises the reconstruction error by ‖W_j‖² / [H_SS⁻¹]_jj: the channel for
which that is smallest goes, W and H⁻¹ are downdated, and so on.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 64
"""Removals between two flushes: long enough for matrix products, short enough that a column stays cheap."""


@dataclass(frozen=True)
class Elimination:
    """The outcome of `eliminate`.

    Attributes:
        kept: [keep], the ascending indices of the channels that stay.
        rise: by how much the reconstruction error rose, the sum of the removed channels' scores.
    """

    kept: Tensor
    rise: float


def eliminate(hessian: Tensor, weight: Tensor, keep: int, block: int = BLOCK) -> Elimination:
    """Remove channels one at a time, each the cheapest one at that moment, until `keep` are left.

    The scores need only the diagonals of P = H⁻¹ and of M = WWᵀ, so W itself is never updated. With h and m the
    columns j of the current P and M, u = h/√h_j and v = m/√h_j − u·m_j/(2 h_j), removing j makes them
    P − uuᵀ and M − uvᵀ − vuᵀ. Within a block the corrections stay in U and V and are applied to the one column that is
    read; at its end both matrices are corrected by matrix products and lose the removed rows and columns.

    Cost with p channels, d outputs, r removals, multiply-adds: 4/3 p³ for the inverse, p² d for M, 3 r p² in matrix
    products for the flushes, 2 r p·block in matrix-vector products.

    Args:
        hessian: [p, p], H, positive definite.
        weight: [p, d], the optimum on all channels, in the same dtype, which is the one computed in.
        keep: how many channels stay.
        block: removals between two flushes; any value gives the same order.

    Raises:
        torch.linalg.LinAlgError: H is not positive definite in this dtype.
    """
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    gram = weight @ weight.T
    alive = torch.arange(len(hessian), device=hessian.device)
    rise = torch.zeros((), dtype=torch.float64, device=hessian.device)
    while len(alive) > keep:
        removals = min(block, len(alive) - keep)
        stays, u, v, scores = _remove(inverse, gram, removals)
        rise += scores
        alive, u, v = alive[stays], u[stays], v[stays]
        inverse = inverse[stays][:, stays].addmm_(u, u.T, alpha=-1)
        gram = gram[stays][:, stays].addmm_(u, v.T, alpha=-1).addmm_(v, u.T, alpha=-1)
    return Elimination(alive, rise.item())


def _remove(inverse: Tensor, gram: Tensor, removals: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Choose `removals` channels; give which stay, the corrections U, V, [p, removals] each, and the scores' sum."""
    p = len(inverse)
    u_all, v_all = inverse.new_zeros(p, removals), inverse.new_zeros(p, removals)
    inverse_diagonal, gram_diagonal = inverse.diagonal().clone(), gram.diagonal().clone()
    stays = torch.ones(p, dtype=torch.bool, device=inverse.device)
    removed = torch.zeros((), dtype=torch.float64, device=inverse.device)
    for step in range(removals):
        scores = torch.where(stays, gram_diagonal / inverse_diagonal, torch.inf)
        j = int(scores.argmin())
        stays[j] = False
        removed += scores[j]
        u_past, v_past = u_all[:, :step], v_all[:, :step]
        h = inverse[:, j] - u_past @ u_past[j]
        m = gram[:, j] - u_past @ v_past[j] - v_past @ u_past[j]
        u = h / h[j].sqrt()
        v = m / h[j].sqrt() - u * (m[j] / (2 * h[j]))
        u_all[:, step], v_all[:, step] = u, v
        inverse_diagonal -= u.square()
        gram_diagonal -= 2 * u * v
    return stays, u_all, v_all, removed
