"""A family's description, read from its tensor-parallel plan and checked against the models that transformers makes.

The plan says what the linears are; their shapes, and those of all other parameters, say how to count. What no plan says
(a norm or a factor behind an MLP, which producer passes the activation, what a flag of the config changes) is tried.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import permutations, product
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from pruning_core.layered_model import ResidentModel
from pruning_core.models.description import AttentionRoles, Family, MlpRoles
from pruning_core.models.registry import described_model_types
from pruning_core.models.tensor_parallel import ALWAYS, read_family, sizes_of
from pruning_core.twins.registry import PUBLISHED
from tests import tiny_models
from tests.pruning_core.residual_stream import require_attention, require_mlp
from tests.tensor_parallel.skeletons import (
    SIZES,
    SPECIAL_TOKENS,
    flags,
    instance,
    make_config,
    own_fields,
    skeleton,
    telling,
)

Parts = dict[str, Counter[str]]
"""How often each shape occurs outside the layers, in a layer, and for each channel of its MLP."""

WINDOWS = torch.randint(1, tiny_models.VOCABULARY, (2, 40), generator=torch.Generator().manual_seed(1))
OTHER_SIZES: tuple[dict[str, Any], ...] = (
    {"hidden_size": 48, "num_attention_heads": 4, "num_key_value_heads": 4, "num_hidden_layers": 3},
    {"vocab_size": 333, "intermediate_size": 250, "num_key_value_heads": 1, "num_hidden_layers": 8},
)


class NotDerivedError(Exception):
    """A plan that does not make a description, with the reason."""


def undescribed() -> list[str]:
    """The `model_type` of every causal language model that has a tensor-parallel plan and that nobody described."""
    known = {*described_model_types(), *PUBLISHED}
    return sorted(
        model_type
        for model_type, name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items()
        if isinstance(name, str)
        and name.endswith("ForCausalLM")
        and model_type not in known
        and CONFIG_MAPPING[model_type].base_model_tp_plan
    )


def derive(model_type: str) -> dict[str, Any]:
    """Describe a family, as an entry of `tensor_parallel.json`.

    Raises:
        NotDerivedError: its plan does not say enough, or it does not keep to it.
    """
    plan = CONFIG_MAPPING[model_type].base_model_tp_plan
    if any("expert" in name for name in plan):
        raise NotDerivedError("its layers hold experts")
    if any(name.endswith("_config") for name in own_fields(model_type)):
        raise NotDerivedError("it is made of several models")
    model = _skeleton(model_type)
    layers = _layers(model)
    mlp, attention = _linears(layers[0], plan)
    entry = {
        "name": CONFIG_MAPPING[model_type].__name__.removesuffix("Config"),
        "layers": f"{model.base_model_prefix}.layers",
        "mlp": {"producers": mlp.producers, "activation": "", "consumer": mlp.consumer, "fused": mlp.fused},
        "attention": {"output": attention},
        "layers_give_tuples": _gives_tuples(model_type),
        "per_layer_lists": _per_layer_lists(model_type),
        "defaults": {},
        "aliases": dict(CONFIG_MAPPING[model_type].attribute_map),
        "only": {},
        "parameters": {},
    }
    entry |= _roles(model_type, read_family(model_type, entry), layers[0])
    entry |= _arithmetic(model_type, entry)
    require_counts(model_type, entry)
    return entry


def _skeleton(model_type: str, **changes: Any) -> PreTrainedModel:
    try:
        return skeleton(model_type, **changes)
    except Exception as refused:  # whatever a config or a model raises
        raise NotDerivedError("no model of it can be made of plain sizes") from refused


def _layers(model: PreTrainedModel) -> nn.ModuleList:
    layers = getattr(model.base_model, "layers", None)
    if not isinstance(layers, nn.ModuleList) or len(layers) != SIZES["num_hidden_layers"]:
        raise NotDerivedError("its decoder layers are not one list as long as num_hidden_layers")
    shapes = [{name: one.shape for name, one in layer.named_parameters()} for layer in layers]
    if any(one != shapes[0] for one in shapes):
        raise NotDerivedError("its decoder layers differ")
    return layers


def _linears(layer: nn.Module, plan: Mapping[str, str]) -> tuple[MlpRoles, str]:
    """The MLP's linears in the order of the plan, and the attention's last one."""
    hidden, width = SIZES["hidden_size"], SIZES["intermediate_size"]
    shapes = {name: one.weight.shape for name, one in layer.named_modules() if isinstance(one, nn.Linear)}
    styles = {name.removeprefix("layers.*."): style for name, style in plan.items()}
    by_rows = [name for name in shapes if styles.get(name, "").startswith("colwise")]
    by_columns = [name for name in shapes if styles.get(name, "").startswith("rowwise")]
    consumers = [name for name in by_columns if shapes[name] == (hidden, width)]
    outputs = [name for name in by_columns if name not in consumers and shapes[name][0] == hidden]
    if len(consumers) != 1 or len(outputs) != 1:
        raise NotDerivedError("its plan does not tell the last linear of attention and MLP")
    for fused in (1, 2):
        producers = tuple(name for name in by_rows if shapes[name] == (fused * width, hidden))
        if producers:
            parent = consumers[0].rpartition(".")[0]
            others = {name for name in shapes if name.startswith(f"{parent}.")} - {*producers, *consumers}
            if parent and others:
                raise NotDerivedError(
                    f"its MLPs hold more linears than the plan's ({', '.join(sorted(others))})"
                )
            return MlpRoles(producers, "", consumers[0], fused), outputs[0]
    raise NotDerivedError("its plan does not tell the first linears of the MLP")


def _tiny(model_type: str, **changes: Any) -> PreTrainedModel:
    """A model with weights, whose every factor, norm and bias matters."""
    torch.manual_seed(0)
    sizes = tiny_models.SIZES | telling(model_type) | changes
    model = instance(make_config(model_type, **sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # Norms would pass on what they get as it is.
            parameter.mul_(8) if parameter.ndim > 1 else parameter.add_(0.5 * torch.rand_like(parameter))
    return model


def _gives_tuples(model_type: str) -> bool:
    model = _tiny(model_type)
    given: list[Any] = []
    hook = model.base_model.layers[0].register_forward_hook(lambda *called: given.append(called[-1]))
    try:
        with hook, torch.no_grad():
            model(input_ids=WINDOWS, use_cache=False)
    except RuntimeError as refused:
        raise NotDerivedError("a model of plain sizes does not run") from refused
    return isinstance(given[0], tuple)


def _per_layer_lists(model_type: str) -> list[str]:
    """The fields whose length follows the depth."""
    found = []
    for layers in (5, 8):
        config = make_config(model_type, num_hidden_layers=layers).to_dict()
        found.append(
            {name for name, value in config.items() if isinstance(value, list) and len(value) == layers}
        )
    return sorted(set.intersection(*found))


def _roles(model_type: str, family: Family, layer: nn.Module) -> dict[str, Any]:
    """Find the activation, the order of the producers, and what follows MLP and attention, by trying."""
    model = _tiny(model_type)
    parent = family.mlp.consumer.rpartition(".")[0]
    held = {name: one for name, one in layer.named_modules() if name.startswith(parent) and name != parent}
    activations = [name for name, one in held.items() if not isinstance(one, nn.Linear | nn.Dropout)]
    norms = [None, *(name for name, one in layer.named_children() if "Norm" in type(one).__name__)]
    attributes = vars(model.base_model.layers[0]).items()
    factors = [None, *(name for name, value in attributes if isinstance(value, float))]
    for producers, activation, norm, factor in product(
        permutations(family.mlp.producers), activations, norms, factors
    ):
        mlp = replace(family.mlp, producers=producers, activation=activation, norm=norm, multiplier=factor)
        if _holds(require_mlp, model, replace(family, mlp=mlp)):
            break
    else:
        raise NotDerivedError(
            "what a decoder layer adds is not what its MLP's linears give, by any known way"
        )
    for norm, factor in product(norms, factors):
        attention = AttentionRoles(family.attention.output, norm, factor)
        if _holds(require_attention, model, replace(family, mlp=mlp, attention=attention)):
            return {"mlp": _said(mlp), "attention": _said(attention)}
    raise NotDerivedError("what a decoder layer adds is not what its attention's last linear gives")


def _holds(require: Any, model: PreTrainedModel, family: Family) -> bool:
    try:
        require(ResidentModel(model, family), WINDOWS)
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError):
        return False
    return True


def _said(roles: MlpRoles | AttentionRoles) -> dict[str, Any]:
    fields = {**vars(roles)}
    if isinstance(roles, MlpRoles):
        fields["producers"] = list(roles.producers)
    return {name: value for name, value in fields.items() if value is not None}


def _arithmetic(model_type: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Count the parameters, and what each flag of the config adds; a flag that changes more may not be changed."""
    family = read_family(model_type, entry)
    config = make_config(model_type).to_dict()
    plain = _parts(_skeleton(model_type))
    always = {part: Counter(shapes) for part, shapes in plain.items()}
    parameters: dict[str, Any] = {}
    only: dict[str, Any] = {}
    for flag in flags(model_type):
        flipped = _flipped(model_type, flag, not config[flag], family)
        if flipped is None:
            only[flag] = config[flag]
            continue
        off, on = (flipped, plain) if config[flag] else (plain, flipped)
        added = {part: _difference(on[part], off[part]) for part in plain}
        parameters[flag] = {part: shapes for part, shapes in added.items() if shapes}
        if config[flag]:
            for part, shapes in added.items():
                always[part].subtract(shapes)
    parameters = {flag: added for flag, added in parameters.items() if added}
    said = {flag: config[flag] for flag in (*parameters, *only)}
    return {
        "parameters": {ALWAYS: {part: _difference(shapes, Counter()) for part, shapes in always.items()}}
        | parameters,
        "only": only,
        "defaults": _defaults(model_type) | said,
    }


def _flipped(model_type: str, flag: str, value: bool, family: Family) -> Parts | None:
    """The parameters with a flag the other way, None where the description does not hold any more."""
    try:
        parts = _parts(_skeleton(model_type, **{flag: value}))
        model = _tiny(model_type, **{flag: value})
    except (NotDerivedError, ValueError, RuntimeError):
        return None
    return parts if _holds(require_mlp, model, family) and _holds(require_attention, model, family) else None


def _difference(more: Counter[str], less: Counter[str]) -> dict[str, int]:
    shapes = {shape: more[shape] - less[shape] for shape in sorted(more.keys() | less.keys())}
    return {shape: times for shape, times in shapes.items() if times}


def _parts(model: PreTrainedModel) -> Parts:
    layer, width = _layers(model)[0], SIZES["intermediate_size"]
    parts: Parts = {name: Counter() for name in ("outside_layers", "layer_without_channels", "channel")}
    sizes = sizes_of(model.config.to_dict())
    inside = {id(one) for layer in _layers(model) for one in layer.parameters()}
    for one in layer.parameters():
        channels = [size // width for size in one.shape if size in (width, 2 * width)]
        others = [size for size in one.shape if size not in (width, 2 * width)]
        part = "channel" if channels else "layer_without_channels"
        parts[part][_shape(others, sizes)] += sum(channels) or 1
    for one in model.parameters():
        if id(one) not in inside:
            parts["outside_layers"][_shape(list(one.shape), sizes)] += 1
    return parts


def _shape(lengths: list[int], sizes: Mapping[str, int]) -> str:
    names = {size: name for name, size in reversed(sizes.items())}
    unknown = [length for length in lengths if length not in names]
    if unknown:
        raise NotDerivedError("it has parameters of a size that no common field of its config tells")
    return " × ".join(names[length] for length in lengths if length != 1) or "1"


def _defaults(model_type: str) -> dict[str, Any]:
    """What a config may omit beside flags: sizes that do not follow from others."""
    named = ("head_dim", "num_key_value_heads", "max_position_embeddings", "tie_word_embeddings")
    sizes = {
        name: SIZES[name] for name in ("hidden_size", "num_hidden_layers", "vocab_size")
    } | SPECIAL_TOKENS
    one, other = (
        CONFIG_MAPPING[model_type](**sizes, num_attention_heads=heads).to_dict() for heads in (6, 3)
    )
    return {
        name: one[name]
        for name in named
        if name in one and one[name] is not None and one[name] == other[name]
    }


def require_counts(model_type: str, entry: Mapping[str, Any]) -> None:
    """Count models of other sizes, and with each flag that may be either the other way.

    Raises:
        NotDerivedError: a count is not transformers'.
    """
    family = read_family(model_type, entry)
    either = {flag: not entry["defaults"][flag] for flag in entry["parameters"] if flag != ALWAYS}
    for changes in _variants(either):
        model = _skeleton(model_type, **changes)
        config = {**family.defaults, **model.config.to_dict()}
        counted = family.count(config).total(config["num_hidden_layers"], config["intermediate_size"])
        if counted != model.num_parameters():
            raise NotDerivedError(f"its parameters are not counted right with {changes}")


def _variants(either: Mapping[str, bool]) -> Iterator[dict[str, Any]]:
    yield {}
    yield from OTHER_SIZES
    yield from ({flag: value} for flag, value in either.items())
    yield {**OTHER_SIZES[0], **either}
