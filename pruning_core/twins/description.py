"""How a model whose code is in its repository is described, and how it becomes one of a family of transformers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pruning_core.models.description import Config, Family


@dataclass(frozen=True)
class Twin:
    """A family of transformers that computes what a published model computes.

    Attributes:
        family: the native one. It counts what was published, without weights that the twin has to add.
        config: the native config of a published one.
        weights: what becomes of one published weight: native names and tensors, several where it is split, none where
            nothing has to be stored. Takes its name, the tensor and the published config.
        added: endings of the names of weights that only the native family has; they hold constants.
    """

    family: Family
    config: Callable[[Config], dict[str, Any]]
    weights: Callable[[str, Any, Config], Iterator[tuple[str, Any]]]
    added: tuple[str, ...] = ()

    @property
    def model_type(self) -> str:
        return self.family.model_types[0]


@dataclass(frozen=True)
class PublishedModel:
    """A model that transformers has no code of.

    Attributes:
        family: its parts as they are while its own code runs.
        architectures: those of its classes that predict the next token, and the ones a config names instead of them.
        sizes: config fields that must hold whole numbers above 0.
        twin: what it is converted to where its own code is not run.
        renamed: fields of the published config by the names that every family's config has.
        undescribed_experts: whether its own code keeps experts, which only the twin's description can narrow.
    """

    family: Family
    architectures: tuple[str, ...]
    sizes: tuple[str, ...]
    twin: Twin
    renamed: Mapping[str, str] = field(default_factory=dict)
    undescribed_experts: bool = False


def common_fields(config: Config) -> dict[str, Any]:
    """What any two configs of transformers call by the same names: the dtype and the special tokens."""
    fields = {"dtype": config.get("dtype") or config.get("torch_dtype")}
    fields |= {name: config.get(name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return {name: value for name, value in fields.items() if value is not None}
