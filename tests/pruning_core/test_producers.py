"""The fit of the linears that compute an MLP's channels."""

import pytest
import torch
from torch import Tensor, nn

from pruning_core.models.description import MlpRoles
from pruning_core.models.mlp import MlpChannels
from pruning_core.repair import producers
from pruning_core.repair.producers import Example, fit_producers
from tests.pruning_core.conftest import Load

CPU = torch.device("cpu")
ROLES = MlpRoles(producers=("gate", "up"), activation="act", consumer="down")
SINGLE = MlpRoles(producers=("up",), activation="act", consumer="down")


class Mlp(nn.Module):
    def __init__(self, *, bias: bool, act: nn.Module, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.gate, self.up = (nn.Linear(12, 20, bias=bias) for _ in range(2))
            self.down = nn.Linear(20, 8, bias=False)
        self.act = act


def inputs(tokens: int, seed: int = 0) -> Tensor:
    return torch.randn(tokens, 12, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def output(channels: MlpChannels, given: Tensor) -> Tensor:
    result: Tensor = channels.consumer(channels.activations(given))
    return result


@torch.no_grad()
def perturb(channels: MlpChannels) -> None:
    """Move the producers a tenth of their size."""
    generator = torch.Generator().manual_seed(7)
    channels.write_producers(
        [
            matrix + 0.1 * matrix.std() * torch.randn(matrix.shape, generator=generator)
            for matrix in channels.read_producers()
        ]
    )


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("roles", [ROLES, SINGLE])
def test_producers_that_were_moved_find_back_to_the_outputs(bias: bool, roles: MlpRoles) -> None:
    channels = MlpChannels(Mlp(bias=bias, act=nn.SiLU()), roles)
    given, unseen = inputs(2000), inputs(500, seed=1)
    wanted, wanted_unseen = output(channels, given), output(channels, unseen)
    perturb(channels)
    before = (output(channels, unseen) - wanted_unseen).square().sum()
    examples = [Example(*rows) for rows in zip(given.split(300), wanted.split(300), strict=True)]
    fit_producers(channels, examples, steps=5, refit_damping=1e-6, shift=None, solver=CPU)
    after = (output(channels, unseen) - wanted_unseen).square().sum()
    assert after < 0.2 * before


@pytest.mark.parametrize("bias", [False, True])
def test_without_a_nonlinearity_one_step_is_the_least_squares_solution(
    bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producers, "INPUT_DAMPING", 1e-9)
    monkeypatch.setattr(producers, "CHANNEL_DAMPING", 1e-9)
    channels = MlpChannels(Mlp(bias=bias, act=nn.Identity()).double(), SINGLE)
    generator = torch.Generator().manual_seed(3)
    given = inputs(400).double()
    wanted = torch.randn(400, 8, generator=generator, dtype=torch.float64) + 1.0
    fit_producers(channels, [Example(given, wanted)], steps=1, refit_damping=1e-9, shift=None, solver=CPU)
    design = torch.cat([given, torch.ones(400, 1)], dim=1) if bias else given
    best = design @ torch.linalg.lstsq(design, wanted).solution
    assert torch.allclose(output(channels, given), best, atol=1e-4)


def test_what_the_consumers_bias_gives_is_not_asked_of_the_producers() -> None:
    channels = MlpChannels(Mlp(bias=False, act=nn.SiLU()), ROLES)
    given = inputs(500)
    shift = torch.arange(8.0)
    targets = output(channels, given) + shift
    before = channels.read_producers()
    fit_producers(channels, [Example(given, targets)], steps=1, refit_damping=0.01, shift=shift, solver=CPU)
    for old, new in zip(before, channels.read_producers(), strict=True):
        assert torch.allclose(old, new, atol=1e-4)


def test_the_consumer_stays_as_it_is() -> None:
    mlp = Mlp(bias=False, act=nn.SiLU())
    channels, before = MlpChannels(mlp, ROLES), mlp.down.weight.clone()
    example = Example(inputs(300), torch.randn(300, 8))
    fit_producers(channels, [example], steps=2, refit_damping=0.01, shift=None, solver=CPU)
    assert mlp.down.weight.equal(before)


def test_16_bit_producers_keep_their_dtype() -> None:
    channels = MlpChannels(Mlp(bias=True, act=nn.SiLU()).bfloat16(), ROLES)
    given = inputs(300).bfloat16()
    example = Example(given, torch.randn(300, 8).bfloat16())
    before = channels.read_producers()
    fit_producers(channels, [example], steps=2, refit_damping=0.01, shift=None, solver=CPU)
    for old, new in zip(before, channels.read_producers(), strict=True):
        assert new.dtype == torch.bfloat16
        assert not new.equal(old)
        assert new.isfinite().all()


def test_a_familys_description_computes_what_its_consumer_gets(load: Load, windows: Tensor) -> None:
    model = load()
    for layer in model.model.model.layers:
        channels = MlpChannels(layer, model.family.mlp)
        seen: list[Tensor] = []
        hooks = [
            channels.producers[0].module.register_forward_pre_hook(
                lambda _, given, seen=seen: seen.append(given[0])
            ),
            channels.consumer.module.register_forward_pre_hook(
                lambda _, given, seen=seen: seen.append(given[0])
            ),
        ]
        with torch.no_grad():
            model.model(input_ids=windows)
            got, sent = seen
            assert torch.allclose(channels.activations(got), sent, atol=1e-6)
        for hook in hooks:
            hook.remove()
