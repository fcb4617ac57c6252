"""A model whose decoder layers are shapes without weights, filled from a checkpoint one at a time.

transformers loads a checkpoint at once. It does so by a function that takes a part of one as well, and that applies a
family's conversions to it: experts with names of their own become one tensor, old names become new ones.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import convert_and_load_state_dict_in_model
from transformers.modeling_utils import LoadStateDictConfig

from pruning_core.finiteness import require_finite_weights
from pruning_core.loaded_weights import require_loaded
from pruning_core.models.description import Family
from pruning_core.weight_files import WeightFiles

Weights = Mapping[str, Tensor]
"""Tensors by their names in the checkpoint."""


class Skeleton:
    """A model on its device, but for its decoder layers, which are on the meta device unless they are filled.

    Attributes:
        model: with its embeddings, its final norm and its head.
        files: where its weights are.
    """

    def __init__(  # noqa: PLR0917  what a model is loaded from, and how
        self,
        files: WeightFiles,
        config: PreTrainedConfig,
        family: Family,
        name: str,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """Read what is around the decoder layers.

        Args:
            files: the checkpoint's weights.
            config: its config.
            family: how it is described.
            name: the model as the user named it, for errors.
            dtype: of its weights in memory.
            device: where it computes.

        Raises:
            UnreadableModelError: a weight is missing, or a file is broken.
            BrokenModelError: a weight is not finite.
        """
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
        self.model: PreTrainedModel = model.eval()
        self.files = files
        self._family, self._name = family, name
        # transformers types what comes as more than what it takes.
        self._conversions: list[Any] = [*get_model_conversion_mapping(self.model)]
        self._loading = LoadStateDictConfig(
            device_map={"": device},
            dtype=dtype,
            dtype_plan=model._get_dtype_plan(dtype),
            weight_mapping=self._conversions,
        )
        list_name = re.escape(family.layers.rpartition(".")[2])
        self._number = re.compile(rf"(?:^|\.){list_name}\.(\d+)\.").search
        self._layers: dict[int, list[str]] = {}
        for weight in files.names:
            found = self._number(weight)
            if found:
                self._layers.setdefault(int(found[1]), []).append(weight)
        self._seen: set[int] = set()
        self._used: set[int] = set()
        self._fill_around(device)

    def read(self, place: int, index: int) -> Weights:
        """Read the weights of the checkpoint's decoder layer `place`, as those of the model's layer `index`.

        They come into the machine's memory. Any thread may ask.

        Raises:
            UnreadableModelError: a file changed under our hands.
        """
        weights = {}
        for name in self._layers.get(place, ()):
            match = self._number(name)
            assert match is not None  # noqa: S101  that is how it was found
            weights[name[: match.start(1)] + str(index) + name[match.end(1) :]] = self.files.read(name)
        return weights

    def fill(self, place: int, index: int, weights: Weights) -> None:
        """Give the model's decoder layer `index` what `read` gave.

        Raises:
            UnreadableModelError: a weight is missing, or has another shape.
            BrokenModelError: one is not finite; looked at the first time.
        """
        prefix = f"{self._family.layers}.{index}."
        self._require("missing", (name for name in self._load(weights) if name.startswith(prefix)))
        if place not in self._seen:
            layer = self.model.get_submodule(prefix.removesuffix("."))
            where = f"{self._family.layers}.{place}."
            require_finite_weights((where + name, weight) for name, weight in layer.named_parameters())
            self._seen.add(place)

    def _fill_around(self, device: torch.device) -> None:
        model: Any = self.model
        in_layers = {name for names in self._layers.values() for name in names}
        around = {name: self.files.read(name) for name in self.files.names if name not in in_layers}
        prefix = f"{self._family.layers}."
        missing = {name for name in self._load(around) if not name.startswith(prefix)}
        model.tie_weights(missing_keys=missing, recompute_mapping=False)
        self._require("missing", missing)
        for module in model.get_submodule(self._family.layers).modules():
            module._is_hf_initialized = True
        # No checkpoint has these. The model's own initialisation computes them, and leaves alone what was loaded.
        for name, buffer in model.named_non_persistent_buffers():
            module, _, last = name.rpartition(".")
            setattr(model.get_submodule(module), last, torch.empty_like(buffer, device=device))
        model.initialize_weights()
        require_finite_weights(
            (name, weight) for name, weight in model.named_parameters() if not name.startswith(prefix)
        )

    def _load(self, weights: Weights) -> set[str]:
        """Load a part of the checkpoint, and name what the rest of the model still lacks.

        What was done to the weights of all parts so far is undone when they are saved, not only to those of this one.
        """
        model: Any = self.model
        loaded, _ = convert_and_load_state_dict_in_model(model, dict(weights), self._loading, None)
        self._used.update(map(id, model._weight_conversions))
        model._weight_conversions = [one for one in self._conversions if id(one) in self._used]
        self._require("mismatched", loaded.mismatched_keys)
        missing: set[str] = loaded.missing_keys
        return missing

    def _require(self, kind: str, names: Iterable[object]) -> None:
        require_loaded(self._name, {f"{kind}_keys": list(names)}, [kind])
