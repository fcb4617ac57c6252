"""A run of the library in this process, drawn for a terminal."""

from rich.progress import Progress as Bars

from pruning_core.events import DenseMeasured, Event, PerplexityPoint, Progress, StageStarted


class Drawing:
    """Draws a run of the library as it goes."""

    def __init__(self, bars: Bars, title: str) -> None:
        self._bars = bars
        self._task = bars.add_task(title, total=1.0, stage="loading", perplexity="", eta_seconds=None)

    def __call__(self, event: Event) -> None:
        match event:
            case StageStarted(stage):
                self._bars.update(self._task, stage=stage)
            case Progress(fraction, eta_seconds):
                self._bars.update(self._task, completed=fraction, eta_seconds=eta_seconds)
            case DenseMeasured(perplexity):
                self._bars.update(self._task, perplexity=f"PPL {perplexity:.2f} unpruned")
            case PerplexityPoint(layer, perplexity):
                self._bars.update(self._task, perplexity=f"PPL {perplexity:.2f} after {layer} layers")
            case _:
                pass
