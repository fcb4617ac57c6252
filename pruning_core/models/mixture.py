"""Parameter arithmetic of decoders whose layers hold a mixture of experts."""

from dataclasses import replace

from pruning_core.models.description import Config, ParameterCount


def count_mixture(
    ordinary: ParameterCount,
    config: Config,
    *,
    experts: int,
    shared: int = 0,
    ordinary_layers: int = 0,
) -> ParameterCount:
    """Count a decoder like `ordinary`, whose layers have a router and `experts` MLPs in the place of one.

    Args:
        ordinary: the decoder with an ordinary MLP in each layer.
        config: the checkpoint's, with the family's defaults.
        experts: how many a layer has.
        shared: parameters of a layer's experts that every token goes to, and of their gate.
        ordinary_layers: layers that keep an ordinary MLP, of `intermediate_size` channels.
    """
    return replace(
        ordinary,
        layer_without_channels=ordinary.layer_without_channels + experts * config["hidden_size"] + shared,
        channel=experts * ordinary.channel,
        apart=ordinary_layers,
        layer_apart=ordinary.total(1, config["intermediate_size"]) - ordinary.outside_layers,
    )
