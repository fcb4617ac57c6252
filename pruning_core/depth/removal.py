"""Decoder layers taken out, and everything that counts them put right."""

from collections.abc import Collection

from pruning_core.layered_model import LayeredModel


def remove_layers(model: LayeredModel, removed: Collection[int]) -> None:
    """Remove decoder layers in place: the layer count and every per-layer field of the config follow.

    A stale per-layer list makes some configs refuse to save (Qwen2's `layer_types`).
    """
    before, family, config = len(model), model.family, model.config
    changed = family.without({**family.defaults, **config.to_dict()}, removed)
    assert changed is not None  # noqa: S101  planning refused what no config can say
    model.remove(removed)
    for name in family.per_layer_lists:
        values = getattr(config, name, None)
        if values is not None:
            setattr(config, name, [values[index] for index in range(before) if index not in removed])
    for name, value in changed.items():
        setattr(config, name, value)
    setattr(config, family.depth_field, len(model))
