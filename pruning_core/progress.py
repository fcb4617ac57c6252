"""How much of the work is done, in one unit: the cost of one token through one decoder layer."""

import time
from dataclasses import dataclass

from pruning_core.budgets import FIT_TOKENS_PER_INPUT
from pruning_core.events import OnEvent, Progress
from pruning_core.models.description import Config, Family

REPORT_EVERY_SECONDS = 0.5


@dataclass(frozen=True)
class CostModel:
    """Costs relative to one token through one decoder layer.

    Attributes:
        head: one token through the final norm and the language-model head, with its loss.
        gram: adding one token to the Gram matrix of an MLP's channels, or of each expert's that it goes to.
        change: multiplying one token's activations with the consumer's weight, or with a target.
        solve: selecting one layer's channels and refitting its consumer, or every expert's.
        fit: one token through a Gauss-Newton step of an MLP's producers.
        fit_tokens: at most so many are looked at.
    """

    head: float
    gram: float
    change: float
    solve: float
    fit: float
    fit_tokens: int

    @classmethod
    def of(cls, family: Family, config: Config) -> "CostModel":
        """Work out the costs of a model of `family`."""
        count, channels, hidden = family.count(config), config[family.width_field], config["hidden_size"]
        roles = family.experts
        experts, chosen = (config[roles.count_field], config[roles.chosen_field]) if roles else (1, 1)
        layer = count.layer_without_channels + channels * count.channel * chosen / experts
        # A token costs a multiply-add per weight. The solver's Cholesky, inverse and downdates are about
        # 3 p³ multiply-adds in float64, each worth two in float32. A step of the fit multiplies about eleven times
        # by a matrix like the consumer's, and squares the derivatives and the activations.
        return cls(
            head=config["vocab_size"] * hidden / layer,
            gram=chosen * channels**2 / layer,
            change=chosen * channels * hidden / layer,
            solve=experts * 2 * 3 * channels**3 / layer,
            fit=chosen * (11 * channels * hidden + 1.5 * channels**2) / layer,
            fit_tokens=FIT_TOKENS_PER_INPUT * hidden * experts // chosen,
        )


class Meter:
    """Counts work as it is done and turns it into `Progress` events, at most two a second and one at the end."""

    def __init__(self, costs: CostModel, total: float, on_event: OnEvent) -> None:
        self._costs = costs
        self._total = total
        self._on_event = on_event
        self._done = self._done_before = 0.0
        self._layer_tokens = 0
        self._started = time.monotonic()
        self._reported = self._started

    @property
    def done(self) -> float:
        """Work so far, in the units of `CostModel`."""
        return self._done

    def go_on_from(self, done: float) -> None:
        """Count work as done that was done before; it tells nothing of the pace."""
        self._done_before += done - self._done
        self._done = done

    def layer(self, tokens: int) -> None:
        self._layer_tokens += tokens
        self._advance(tokens)

    def head(self, tokens: int) -> None:
        self._advance(tokens * self._costs.head)

    def gram(self, tokens: float) -> None:
        self._advance(tokens * self._costs.gram)

    def change(self, tokens: float) -> None:
        self._advance(tokens * self._costs.change)

    def solve(self) -> None:
        self._advance(self._costs.solve)

    def fit(self, tokens: float, steps: int, *, experts: int = 1) -> None:
        """One MLP of a layer that has so many."""
        self._advance(steps * min(tokens, self._costs.fit_tokens / experts) * self._costs.fit)

    def spare(self, units: float) -> None:
        """Take off work that was announced and will not be done."""
        self._total -= units

    def finish(self) -> None:
        """Report once more, now that all is done: what came since the last report would go untold."""
        self._report(eta_seconds=0)

    def _advance(self, units: float) -> None:
        self._done += units
        now = time.monotonic()
        if now - self._reported < REPORT_EVERY_SECONDS:
            return
        self._reported = now
        pace = (self._done - self._done_before) / (now - self._started)
        self._report(eta_seconds=round(max(self._total - self._done, 0) / pace))

    def _report(self, eta_seconds: int) -> None:
        fraction = min(self._done / self._total, 1.0)
        self._on_event(Progress(fraction, eta_seconds, self._layer_tokens))
