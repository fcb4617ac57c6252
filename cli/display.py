"""A job, drawn for a terminal."""

from typing import Any

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from cli.console import err
from pruning_core.depth.cuts import name_layers

WIDE = 140


class TimeLeft(ProgressColumn):
    """The worker's own estimate, which knows what each step costs."""

    def render(self, task: Task) -> Text:
        eta = task.fields.get("eta_seconds")
        if eta is None:
            return Text("")
        minutes, seconds = divmod(int(eta), 60)
        return Text(f"{minutes}:{seconds:02d} left", style="cyan")


def live_progress(*, visible: bool) -> Progress:
    """A bar per job: stage, share done, perplexity so far, time left."""
    return Progress(
        TextColumn("[bold]{task.description}"),
        TextColumn("{task.fields[stage]:<11}"),
        BarColumn(bar_width=28),
        TaskProgressColumn(),
        TextColumn("{task.fields[perplexity]}"),
        TimeLeft(),
        console=err,
        disable=not visible,
    )


def perplexity_so_far(job: dict[str, Any]) -> str:
    """The newest perplexity of a running job, in words."""
    perplexity = job["perplexity"]
    if perplexity["after"]:
        return f"PPL {perplexity['before']:.2f} → {perplexity['after']:.2f}"
    finite = [c for c in perplexity["candidates"] if c["healed"] or c["perplexity"]]
    if finite:
        best = min(finite, key=_standing)
        value, healed = best["healed"] or best["perplexity"], ", healed" if best["healed"] else ""
        return f"PPL {value:.2f} without layers {name_layers(best['layers'])}{healed}"
    if perplexity["points"]:
        point = perplexity["points"][-1]
        windows = "1 window" if point["windows"] == 1 else f"{point['windows']} windows"
        return f"PPL {point['perplexity']:.2f} after {point['layer']} layers ({windows})"
    if perplexity["before"]:
        return f"PPL {perplexity['before']:.2f} unpruned"
    return ""


def _standing(candidate: dict[str, Any]) -> tuple[int, bool, bool, float]:
    """The last step of a greedy search first, then healed ones, then those still in the race, by perplexity."""
    healed = candidate["healed"]
    value = healed or candidate["perplexity"]
    return -len(candidate["layers"]), healed is None, not candidate["in_race"], value


def describe_cut(cut: dict[str, Any] | None) -> str:
    if cut is None:
        return "–"
    if "removed_layers" in cut:
        removed = cut["removed_layers"]
        return f"{cut['layers_before']} → {cut['layers_after']} layers (without {name_layers(removed)})"
    return f"{cut['intermediate_size_before']} → {cut['intermediate_size_after']} channels"


def change(before: float | None, after: float | None, form: str) -> str:
    """`before → after`, with a dash for what is not known."""
    return " → ".join("–" if value is None else format(value, form) for value in (before, after))


def jobs_table(jobs: list[dict[str, Any]], width: int) -> Table:
    """Jobs, one a row; parameters and cut only where `width` characters have room for them."""
    wide = width >= WIDE
    table = Table(box=None, pad_edge=False, header_style="bold")
    # Whole, however narrow the terminal: it is there to be copied.
    table.add_column("id", no_wrap=True, min_width=36)
    for name in ("state", "model", "method"):
        table.add_column(name, overflow="ellipsis", no_wrap=True)
    table.add_column("PPL", justify="right", no_wrap=True)
    if wide:
        table.add_column("parameters (M)", justify="right")
        table.add_column("cut")
    for job in jobs:
        parameters = job["parameters"]
        millions = [None if n is None else n / 1e6 for n in (parameters["before"], parameters["after"])]
        state = job["state"] if job["state"] != "running" else f"{job['stage']} {job['progress']:.0%}"
        cells = [
            job["id"],
            state,
            Text(job["request"]["model"]["id"].rsplit("/", 1)[-1]),
            f"{job['request']['method']} {job['request']['ratio']:g}",
            change(job["perplexity"]["before"], job["perplexity"]["after"], ".2f"),
        ]
        if wide:
            cells += [change(millions[0], millions[1], ".1f"), describe_cut(job["cut"])]
        table.add_row(*cells)
    return table


def report(job: dict[str, Any]) -> Table:
    """A finished job, fact by fact."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    perplexity, parameters, artifact = job["perplexity"], job["parameters"], job["artifact"]
    table.add_row("model", Text(job["request"]["model"]["id"].rsplit("/", 1)[-1]))
    table.add_row("method", f"{job['request']['method']}, ratio {job['request']['ratio']:g}")
    table.add_row(
        f"PPL ({perplexity['dataset']}, {perplexity['dtype']})",
        f"{change(perplexity['before'], perplexity['after'], '.4f')}  (× {perplexity['ratio']:.4f})",
    )
    table.add_row(
        "parameters",
        f"{change(parameters['before'], parameters['after'], ',')}  (−{parameters['removed_share']:.2%})",
    )
    table.add_row("cut", describe_cut(job["cut"]))
    table.add_row("checkpoint", Text(artifact.get("url") or artifact["location"]))
    table.add_row("size", f"{artifact['bytes'] / 1e6:,.1f} MB in {len(artifact['files'])} files")
    return table


def keys_table(keys: list[dict[str, Any]]) -> Table:
    """API keys, as `secateur keys list` shows them."""
    table = Table(
        "name", "begins with", "may", "queued", "a minute", "last used (UTC)", "revoked (UTC)", box=None
    )
    for key in keys:
        table.add_row(
            key["name"],
            key["prefix"] + "…",
            ", ".join(key["scopes"]),
            str(key["max_queued_jobs"]),
            str(key["requests_per_minute"]),
            to_the_minute(key["last_used_at"]) or "never",
            to_the_minute(key["revoked_at"]),
            style="dim" if key["revoked_at"] else "",
        )
    return table


def to_the_minute(time: str | None) -> str:
    """A time as the service writes it, short; nothing for none."""
    return time[: len("2026-11-25T13:19")].replace("T", " ") if time else ""
