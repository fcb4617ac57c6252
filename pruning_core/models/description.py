"""How a model family is described: the names of its parts and the arithmetic of its parameters, no code of its own."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

Config = Mapping[str, Any]
"""A checkpoint's `config.json`, with the family's defaults filled in."""


@dataclass(frozen=True)
class MlpRoles:
    """The parts of an MLP, by their path inside a decoder layer.

    Attributes:
        producers: linears that compute the intermediate channels; their output rows are channels. What the first gives
            passes the `activation`; what a second gives multiplies that.
        activation: the module between producers and consumer, or transformers' name of the function that is there.
        consumer: linear that reads the channels; its input columns are channels.
        fused: how many producers each of those linears is, one's rows behind the other's: 2 for a fused gate and up.
        norm: the norm that what the MLP gives passes before it is added to the residual stream; None if none does.
        multiplier: attribute of the decoder layer that what the MLP gives is multiplied with; None if with nothing.
    """

    producers: tuple[str, ...]
    activation: str
    consumer: str
    fused: int = 1
    norm: str | None = None
    multiplier: str | None = None


@dataclass(frozen=True)
class AttentionRoles:
    """How a decoder layer's attention gives to the residual stream.

    Attributes:
        output: path of its last linear inside the layer.
        norm: the norm behind it; None if there is none.
        multiplier: attribute of the layer that what it gives is multiplied with; None if with nothing.
    """

    output: str = "self_attn.o_proj"
    norm: str | None = None
    multiplier: str | None = None


@dataclass(frozen=True)
class ExpertRoles:
    """Where a mixture's experts are: two tensors, `gate_up_proj` and `down_proj`, with an `act_fn` between them.

    Attributes:
        module: path inside a decoder layer of what holds them; layers without it have an ordinary MLP.
        count_field: config field with the number of experts.
        chosen_field: config field with the number of them that the router sends a token to.
    """

    module: str
    count_field: str
    chosen_field: str


GATED = MlpRoles(
    producers=("mlp.gate_proj", "mlp.up_proj"), activation="mlp.act_fn", consumer="mlp.down_proj"
)
"""How Llama names them, and most after it."""

FUSED = MlpRoles(
    producers=("mlp.gate_up_proj",), activation="mlp.activation_fn", consumer="mlp.down_proj", fused=2
)
"""How Phi-3 names them, and GLM."""


def nothing_follows(_config: Config) -> Config:
    """The config fields that follow from others in a family that names all its sizes: none."""
    return {}


def anything_goes(_config: Config) -> str | None:
    """What is wrong with a config of a family all of whose variants are described: nothing."""
    return None


def nothing_else(_config: Config, _removed: Collection[int]) -> Mapping[str, Any]:
    """What removed layers change in a config beside its depth and its per-layer lists: nothing."""
    return {}


@dataclass(frozen=True)
class ParameterCount:
    """A model's parameters as a function of its depth and its MLP width; tied weights count once.

    Attributes:
        outside_layers: embeddings, final norm and head.
        layer_without_channels: of a decoder layer.
        channel: of one channel of a decoder layer's MLP, of every expert if it has several.
        apart: how many decoder layers have an MLP that is not of the family's width, as ordinary ones among mixtures.
        layer_apart: of such a layer.
    """

    outside_layers: int
    layer_without_channels: int
    channel: int
    apart: int = 0
    layer_apart: int = 0

    def total(self, layers: int, channels: int) -> int:
        """Count a model of so many layers, those apart among them for as long as there are others to remove."""
        apart = min(self.apart, layers)
        alike = self.layer_without_channels + channels * self.channel
        return self.outside_layers + apart * self.layer_apart + (layers - apart) * alike


@dataclass(frozen=True)
class Family:
    """One model family of transformers.

    Attributes:
        name: the models it describes, as people call them.
        model_types: the `model_type` values it describes.
        layers: path of the decoder layers inside the `…ForCausalLM` module.
        mlp: the MLP's linears.
        attention: the attention's last one.
        experts: where decoder layers hold many MLPs, of which a router chooses; None in a family without.
        depth_field: config field that counts decoder layers.
        width_field: config field that holds the MLP's intermediate size.
        count: parameters of a model with this config.
        per_layer_lists: config fields that hold one value per decoder layer, cut together with the layers.
        defaults: config fields that a `config.json` may omit, as transformers fills them in.
        derived: config fields that follow from others, under the names and with the values that planning asks for.
        beside: parts of the MLP that width pruning leaves, for the page of families.
        refusal: why a model with this config cannot be pruned, although its family is described; None if it can.
        without: what the config says instead once these layers are gone, beside depth and per-layer lists; None if no
            config can say it, because layers differ and the fields that tell which is which cannot tell any more.
        sequence_first: whether decoder layers take [positions, windows, hidden size], as Megatron's do.
        layers_give_tuples: whether the model takes more from a decoder layer than hidden states.
    """

    name: str
    model_types: tuple[str, ...]
    layers: str
    mlp: MlpRoles
    depth_field: str
    width_field: str
    count: Callable[[Config], ParameterCount]
    attention: AttentionRoles = AttentionRoles()
    experts: ExpertRoles | None = None
    per_layer_lists: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    derived: Callable[[Config], Config] = nothing_follows
    beside: str = ""
    refusal: Callable[[Config], str | None] = anything_goes
    without: Callable[[Config, Collection[int]], Mapping[str, Any] | None] = nothing_else
    sequence_first: bool = False
    layers_give_tuples: bool = False
