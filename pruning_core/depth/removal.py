"""Decoder layers taken out, and everything that counts them put right."""

from collections.abc import Collection

from pruning_core.streaming import LayeredModel

LAYER_NUMBERS = {"layer_idx": 0, "layer_number": 1}
"""What decoder layers and their parts call their number, and where they begin to count."""


def remove_layers(model: LayeredModel, removed: Collection[int]) -> None:
    """Remove decoder layers in place: their numbers, the layer count and every per-layer field of the config follow.

    A stale `layer_idx` would address the wrong slot of the KV cache, and a stale per-layer list makes some
    configs refuse to save (Qwen2's `layer_types`).
    """
    before, family, config = len(model), model.family, model.config
    changed = family.without({**family.defaults, **config.to_dict()}, removed)
    assert changed is not None  # noqa: S101  planning refused what no config can say
    model.remove(removed)
    for index in range(len(model)):
        with model.open(index) as layer:
            for module in layer.modules():
                for name, first in LAYER_NUMBERS.items():
                    if hasattr(module, name):
                        setattr(module, name, first + index)
            model.store(index, layer)
    for name in family.per_layer_lists:
        values = getattr(config, name, None)
        if values is not None:
            setattr(config, name, [values[index] for index in range(before) if index not in removed])
    for name, value in changed.items():
        setattr(config, name, value)
    setattr(config, family.depth_field, len(model))
