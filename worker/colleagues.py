"""The other workers as a job's child process knows them: through its supervisor."""

from base64 import b64decode
from collections.abc import Sequence

from torch import Tensor

from pruning_core.depth.conditions import Conditions
from pruning_core.depth.share import Share
from worker.assignment import COLLECT, OFFER, Collected, Work
from worker.parent import Parent


class Colleagues:
    """The `Helpers` of a depth search: whatever workers are free when a round is shared out."""

    def __init__(self, parent: Parent, number: int) -> None:
        self._parent = parent
        self._number = number
        self._offered: Sequence[Share] = ()

    @property
    def number(self) -> int:
        return self._number

    def offer(self, shares: Sequence[Share], conditions: Conditions) -> None:
        self._offered = shares
        told = conditions.model_dump(mode="json")
        works = [Work(share=share.model_dump(mode="json"), conditions=told).model_dump() for share in shares]
        self._parent.tell(OFFER, {"works": works})

    def collect(self) -> Sequence[Tensor | None]:
        self._parent.tell(COLLECT, {})
        collected = Collected.model_validate_json(self._parent.hear()).losses
        return [
            None if packed is None else share.unpack(b64decode(packed))
            for share, packed in zip(self._offered, collected, strict=True)
        ]
