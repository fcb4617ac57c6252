"""`secateur submit | watch | list | cancel | retry`: jobs of a running service."""

from typing import Annotated, Any

import typer

from cli import options
from cli.client import Client
from cli.console import err, out, print_json
from cli.display import jobs_table, report
from cli.watching import exit_code, follow

JobId = Annotated[str, typer.Argument(help="The id that `submit` printed.")]


@options.takes_request
def submit(
    body: dict[str, Any],
    idempotency_key: Annotated[
        str | None, typer.Option(help="Sending the same request twice under one key makes one job.")
    ] = None,
    deadline_seconds: Annotated[
        int | None, typer.Option(help="The job has failed if it has not ended so many seconds from now.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Publish as a new version of this model in the registry, owner/name."),
    ] = None,
    hub: Annotated[
        str | None, typer.Option(help="Publish to this repository on the Hub, owner/name; else locally.")
    ] = None,
    hub_branch: Annotated[str, typer.Option(help="With --hub: the branch.")] = "main",
    public: Annotated[
        bool, typer.Option("--public", help="With --hub: everybody may read the checkpoint.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="With --hub: also on top of what others commit while the job runs."),
    ] = False,
    watch_it: Annotated[bool, typer.Option("--watch", help="Follow the job to its end.")] = False,
    url: options.Url = None,
    data: options.DataFolder = None,
    as_json: options.AsJson = False,
) -> None:
    """Submit a pruning job to the service."""
    if deadline_seconds is not None:
        body["deadline_seconds"] = deadline_seconds
    if name is not None:
        if hub is not None:
            raise typer.BadParameter(
                "it says where in the registry, and goes without --hub", param_hint="--name"
            )
        body["destination"] = {"kind": "local", "name": name}
    if hub is not None:
        body["destination"] = {
            "kind": "hub",
            "repo_id": hub,
            "private": not public,
            "revision": hub_branch,
            "overwrite": overwrite,
        }
    elif public or overwrite or hub_branch != "main":
        raise typer.BadParameter(
            "it says where on the Hub, and goes with --hub", param_hint="--hub-branch, --public, --overwrite"
        )
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else None
    with Client(url, data) as client:
        job = client.post("/jobs", body, headers)
        if watch_it:
            _watch(client, job["id"], as_json=as_json)
        if as_json:
            print_json(job)
        else:
            out.print(
                f"{job['id']} {job['state']}. Follow it with: secateur watch {job['id']}", soft_wrap=True
            )


def watch(
    job_id: JobId, url: options.Url = None, data: options.DataFolder = None, as_json: options.AsJson = False
) -> None:
    """Follow a job to its end; Ctrl-C leaves it running. Exit code 1 if it does not succeed."""
    with Client(url, data) as client:
        _watch(client, job_id, as_json=as_json)


def list_jobs(
    state: Annotated[
        str | None, typer.Option(help="queued, running, succeeded, failed or cancelled.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only jobs of this model.")] = None,
    method: Annotated[options.Method | None, typer.Option(help="Only jobs of this method.")] = None,
    limit: Annotated[int, typer.Option(help="How many, at most 200.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="The `next` of the page before.")] = None,
    url: options.Url = None,
    data: options.DataFolder = None,
    as_json: options.AsJson = False,
) -> None:
    """List jobs, newest first."""
    with Client(url, data) as client:
        page = client.get("/jobs", state=state, model=model, method=method, limit=limit, cursor=cursor)
    if as_json:
        print_json(page)
        return
    out.print(jobs_table(page["items"], out.width) if page["items"] else "No jobs.")
    if page["next"]:
        out.print(f"More: secateur list --cursor {page['next']}", soft_wrap=True)


def cancel(
    job_id: JobId, url: options.Url = None, data: options.DataFolder = None, as_json: options.AsJson = False
) -> None:
    """Cancel a job: a queued one at once, a running one within seconds."""
    with Client(url, data) as client:
        job = client.post(f"/jobs/{job_id}/cancel")
    if as_json:
        print_json(job)
    else:
        out.print(f"{job['id']} {'is being cancelled' if job['state'] == 'running' else job['state']}.")


def retry(
    job_id: JobId, url: options.Url = None, data: options.DataFolder = None, as_json: options.AsJson = False
) -> None:
    """Queue a new job with the request of one that failed or was cancelled."""
    with Client(url, data) as client:
        job = client.post(f"/jobs/{job_id}/retry")
    if as_json:
        print_json(job)
    else:
        out.print(f"{job['id']} {job['state']}. Follow it with: secateur watch {job['id']}", soft_wrap=True)


def _watch(client: Client, job_id: str, *, as_json: bool) -> None:
    try:
        (job,) = follow(client, {job_id: job_id[:8]}, visible=not as_json)
    except KeyboardInterrupt:
        err.print(f"\nThe job goes on. Come back with: secateur watch {job_id}")
        raise typer.Exit(130) from None
    if as_json:
        print_json(job)
    else:
        _print_end(job)
    raise typer.Exit(exit_code(job))


def _print_end(job: dict[str, Any]) -> None:
    if job["state"] == "succeeded":
        out.print(report(job))
    elif job["error"]:
        err.print(f"{job['state']}: {job['error']['title']}. {job['error']['detail']}", markup=False)
    else:
        err.print(job["state"])
