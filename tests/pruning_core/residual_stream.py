"""What a family's description says about the residual stream, held against what the decoder layers do."""

import torch
from torch import Tensor

from pruning_core.layered_model import ResidentModel
from pruning_core.models.attention import AttentionOutput
from pruning_core.models.layer_mlp import mlp_of


@torch.no_grad()
def require_mlp(model: ResidentModel, windows: Tensor) -> None:
    """Beside everything else a layer adds, what the described MLP gives is all."""
    stream = model.embed(windows)
    for index, layer in enumerate(model._layers):
        mlp = mlp_of(layer, model.family, model.config)
        with mlp.silenced() as heard:
            beside = stream.run(layer, index)
        (once,) = heard
        whole = stream.run(layer, index)
        assert not torch.allclose(beside, whole, atol=1e-3)
        assert torch.allclose(mlp.junction.add(beside, mlp.output(once)), whole, rtol=1e-5, atol=1e-5)
        together = torch.zeros_like(mlp.output(once))
        for part, channels in enumerate(mlp.parts):
            given = mlp.given(part, once, routed=True)
            output = channels.consumer(channels.activations(given.inputs))
            rows = slice(None) if given.rows is None else given.rows
            together[rows] += output if given.scale is None else output * given.scale
        assert torch.allclose(together, mlp.output(once), rtol=1e-5, atol=1e-5)
        stream.hidden = whole


@torch.no_grad()
def require_attention(model: ResidentModel, windows: Tensor) -> None:
    """Beside its MLP, what the heads give is all that a layer adds."""
    stream = model.embed(windows)
    # The second, because it has no shared expert in any variant.
    stream.hidden = stream.run(model._layers[0], 0)
    layer = model._layers[1]
    mlp, attention = mlp_of(layer, model.family, model.config), AttentionOutput(layer, model.family)
    with attention.heard() as heard, mlp.silenced():
        whole = stream.run(layer, 1)
    (heads,) = heard
    given = attention.projection(heads)
    assert torch.allclose(attention.junction.add(stream.hidden, given), whole, rtol=1e-5, atol=1e-5)
