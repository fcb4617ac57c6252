"""What a job has done, in a folder: whoever begins it again goes on from there, to the same last bit.

A job is a row of answers (the perplexity of the dense model, the losses of a round of a search) and of walks through
the layers, one of which changes them. Answers are given again. Of a walk there is a page with what goes on from the
last layer to the next, hidden states; of the one that changes layers these are kept too. A page is written whole before
it replaces the last one, and only layers that a page knows of count.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter
from safetensors import safe_open
from torch import Tensor

from pruning_core.layer_files import LayerFiles
from pruning_core.progress import Meter
from pruning_core.shelf import Kept
from pruning_core.tensor_file import TensorFile

Answer = TypeVar("Answer")

CHANGING = "walk"
"""The walk that changes layers."""

PAGE_EVERY_SECONDS = 30
"""How much work may be lost of a walk that is quicker from layer to layer than a page is written."""


@dataclass(frozen=True)
class Walk:
    """How far a walk has come.

    Attributes:
        next_layer: the first that was not reached.
        told: what was told on the way.
    """

    next_layer: int
    told: Any
    _file: Path

    def under(self, prefix: str) -> dict[str, str]:
        """The names of the tensors that begin so, by what follows."""
        with safe_open(self._file, framework="pt") as file:
            names: list[str] = list(file.keys())
        return {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}

    def tensor(self, name: str) -> Tensor:
        """One of the tensors that go on, on the CPU."""
        with safe_open(self._file, framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor


class Ledger:
    """What a job has done.

    Attributes:
        layers: those that were changed; None where nothing is kept.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Go on in a folder that is there; None keeps nothing. See `open`."""
        self._folder = folder
        self._turned = time.monotonic()
        self.layers = None if folder is None else LayerFiles(folder / "layers")
        if self.layers is not None:
            walk = self._walk(CHANGING)
            self.layers.drop_from(walk.next_layer if walk is not None else 0)

    @classmethod
    def open(cls, folder: Path, conditions: Mapping[str, Any]) -> "Ledger":
        """Open the ledger in a folder, and empty it if it was kept under other conditions.

        Args:
            folder: need not be there.
            conditions: what the result depends on, to be written as JSON.
        """
        asked = json.dumps(conditions, sort_keys=True, default=str)
        digest = hashlib.sha256(asked.encode()).hexdigest()
        for other in folder.glob("*"):
            if other.name != digest:
                shutil.rmtree(other)
        (folder / digest).mkdir(parents=True, exist_ok=True)
        return cls(folder / digest)

    def recall(self, name: str, kind: Any, work: Callable[[], Answer], meter: Meter) -> Answer:
        """Give an answer again, or work it out and keep it.

        Args:
            name: which answer.
            kind: its type, that JSON can hold.
            work: works it out.
            meter: told of the work, whoever did it.
        """
        if self._folder is None:
            return work()
        file, adapter = self._file(name), TypeAdapter(kind)
        if file.exists():
            told = _read(file)
            meter.go_on_from(told["done"])
            known: Answer = adapter.validate_python(told["answer"])
            return known
        answer = work()
        self._write(file, {"answer": adapter.dump_python(answer, mode="json"), "done": meter.done}, {})
        return answer

    def recall_losses(self, name: str, work: Callable[[], Tensor], meter: Meter) -> Tensor:
        """The same for a tensor on the CPU."""
        if self._folder is None:
            return work()
        file = self._file(name)
        if file.exists():
            meter.go_on_from(_read(file)["done"])
            with safe_open(file, framework="pt") as page:
                known: Tensor = page.get_tensor("losses")
            return known
        losses = work()
        self._write(file, {"done": meter.done}, {"losses": losses})
        return losses

    def resume(self, meter: Meter, name: str = CHANGING) -> Walk | None:
        """Tell how far a walk has come; None if it has not begun."""
        walk = self._walk(name)
        if walk is not None:
            meter.go_on_from(_read(self._file(name))["done"])
        return walk

    def commit(
        self,
        next_layer: int,
        told: Any,
        going_on: Mapping[str, Kept],
        meter: Meter,
        name: str = CHANGING,
    ) -> None:
        """Keep that a walk has come to `next_layer`; the layers before it that it changed must be in `layers`.

        Args:
            next_layer: the first that was not reached.
            told: what was told on the way, that JSON can hold.
            going_on: the tensors that go on.
            meter: knows how much was done.
            name: of the walk.

        Raises:
            DiskFullError: there is no room.
        """
        if self._folder is None:
            return
        tensors = {name: kept.tensor for name, kept in going_on.items()}
        self._write(self._file(name), {"next_layer": next_layer, "told": told, "done": meter.done}, tensors)
        self._turned = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time for another page."""
        return self._folder is not None and time.monotonic() - self._turned >= PAGE_EVERY_SECONDS

    def finish(self, name: str) -> None:
        """Forget a walk that ended, once its answer is kept."""
        if self._folder is not None:
            self._file(name).unlink(missing_ok=True)

    def _walk(self, name: str) -> Walk | None:
        if self._folder is None or not self._file(name).exists():
            return None
        told = _read(self._file(name))
        return Walk(told["next_layer"], told["told"], self._file(name))

    def _file(self, name: str) -> Path:
        assert self._folder is not None  # noqa: S101  asked where something is kept
        return self._folder / f"{name}.safetensors"

    def _write(self, file: Path, told: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        page = TensorFile(file.with_suffix(".partial"), tensors, {"told": json.dumps(told)})
        for name, tensor in tensors.items():
            page.write(name, tensor)
        page.close()
        page.path.replace(file)


NO_LEDGER = Ledger()


def _read(file: Path) -> Any:
    with safe_open(file, framework="pt") as page:
        return json.loads(page.metadata()["told"])
