"""What a job has done, in a folder: whoever begins it again goes on from there, to the same last bit.

A job is a row of answers (the perplexity of the dense model, the losses of a round of a search) and one walk that
changes layer after layer. Answers are given again. Of the walk the changed layers are kept, and, for the last of them,
what goes on to the next: a page with the hidden states. A page is written whole before it replaces the last one, and
only layers that a page knows of count.
"""

import hashlib
import json
import shutil
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


@dataclass(frozen=True)
class Walk:
    """How far the walk has come.

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
        layers: those that its walk changed; None where nothing is kept.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Go on in a folder that is there; None keeps nothing. See `open`."""
        self._folder = folder
        self.layers = None if folder is None else LayerFiles(folder / "layers")
        if self.layers is not None:
            self.layers.drop_from(self._read_walk().next_layer if self._walk_file.exists() else 0)

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

    def resume(self, meter: Meter) -> Walk | None:
        """Tell how far the walk has come; None if it has not begun."""
        if self._folder is None or not self._walk_file.exists():
            return None
        meter.go_on_from(_read(self._walk_file)["done"])
        return self._read_walk()

    def commit(self, next_layer: int, told: Any, going_on: Mapping[str, Kept], meter: Meter) -> None:
        """Keep that the walk has come to `next_layer`; the layers before it that it changed must be in `layers`.

        Args:
            next_layer: the first that was not reached.
            told: what was told on the way, that JSON can hold.
            going_on: the tensors that go on.
            meter: knows how much was done.

        Raises:
            DiskFullError: there is no room.
        """
        if self._folder is None:
            return
        tensors = {name: kept.tensor for name, kept in going_on.items()}
        self._write(self._walk_file, {"next_layer": next_layer, "told": told, "done": meter.done}, tensors)

    @property
    def _walk_file(self) -> Path:
        return self._file("walk")

    def _read_walk(self) -> Walk:
        told = _read(self._walk_file)
        return Walk(told["next_layer"], told["told"], self._walk_file)

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
