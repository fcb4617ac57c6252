"""The process that prunes: one job, then it ends. Of the service only this and `worker.share_child` import torch.

A process of its own, because torch can be killed for its memory, can crash inside a driver and never gives back all
it took; because a CUDA context must not be forked; and because killing it is the one cancel that always works.
"""

import uuid
from dataclasses import asdict
from http import HTTPStatus

import structlog
import torch
from huggingface_hub import get_token

from jobs import logs
from jobs.problem import Problem, problem, recipe_problem
from pruning_core import parse_recipe
from pruning_core.errors import BrokenModelError, DiskFullError, RecipeError
from pruning_core.events import Event, Progress
from pruning_core.provenance import peak_device_bytes, peak_rss_bytes
from pruning_core.pruning import prune
from pruning_core.result import PruneResult
from registry.destination import HubDestination, parse_destination
from worker.assignment import FAILED, SUCCEEDED, USAGE, Assignment, Message, recipe_of
from worker.colleagues import Colleagues
from worker.hub_route import HubRoute
from worker.local_route import LocalRoute
from worker.parent import Parent
from worker.route import Pruned, Route

log = structlog.get_logger()


def main() -> None:
    """Read an assignment from standard input, prune, publish, and say how it went on standard output."""
    parent = Parent()
    assignment = Assignment.model_validate_json(parent.hear())
    logs.configure(assignment.log_format, secret=get_token())
    structlog.contextvars.bind_contextvars(job_id=assignment.job_id, attempt=assignment.attempt)

    told: list[Message] = []

    def on_event(event: Event) -> None:
        message = Message(kind=event.kind, data=asdict(event))
        parent.tell(message.kind, message.data)
        if isinstance(event, Progress):
            parent.tell(USAGE, _usage(event.layer_tokens))
        else:
            told.append(message)

    try:
        recipe = parse_recipe(recipe_of(assignment.request))
        helpers = None
        if recipe.method == "depth" and recipe.options.parallelism > 1:
            helpers = Colleagues(parent, recipe.options.parallelism - 1)
        route = _route(assignment, parent)
        route.require_open()
        pruned = route.recall()
        if pruned is None:
            result = prune(
                recipe,
                route.stage(),
                roots=assignment.local_roots,
                trusted=assignment.trusted_remote_code,
                allow_pickle=assignment.allow_pickle,
                device=assignment.device,
                memory_budget=assignment.memory_budget,
                work=assignment.work,
                on_event=on_event,
                helpers=helpers,
            )
            pruned = Pruned(result=result, told=told)
            route.keep(pruned)
        else:
            # A new attempt's record begins empty.
            for message in pruned.told:
                parent.tell(message.kind, message.data)
        parent.tell("stage", {"stage": "publishing"})
        artifact = route.publish(pruned)
        parent.tell(SUCCEEDED, {**_facts(pruned.result), "artifact": artifact.model_dump()})
    except Exception as error:  # noqa: BLE001  whatever went wrong, the job must say so
        parent.tell(FAILED, _explain(error))


def _route(assignment: Assignment, parent: Parent) -> Route:
    destination = parse_destination(assignment.request)
    if isinstance(destination, HubDestination):
        return HubRoute(assignment, destination, parent)
    return LocalRoute(assignment)


def _usage(layer_tokens: int) -> dict[str, object]:
    return {
        "layer_tokens": layer_tokens,
        "host_bytes": peak_rss_bytes(),
        "device_bytes": peak_device_bytes(),
    }


def _facts(result: PruneResult) -> dict[str, object]:
    plan = result.plan
    if result.removed_layers:
        cut = {
            "removed_layers": result.removed_layers,
            "layers_before": plan.layers_before,
            "layers_after": plan.layers_after,
        }
    else:
        cut = {
            "intermediate_size_before": plan.intermediate_size_before,
            "intermediate_size_after": plan.intermediate_size_after,
        }
    return {
        "perplexity_before": result.perplexity_before,
        "perplexity_after": result.perplexity_after,
        "parameters_before": result.parameters_before,
        "parameters_after": result.parameters_after,
        "dtype": result.dtype,
        "cut": cut,
    }


def _explain(error: Exception) -> Problem:
    if isinstance(error, RecipeError):
        return recipe_problem(error)
    if isinstance(error, BrokenModelError):
        return problem("broken-model", "The model is not finite", HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
    if isinstance(error, DiskFullError):
        return problem(
            "disk-full",
            "The disk is full",
            HTTPStatus.INSUFFICIENT_STORAGE,
            f"{error}. Make room under the worker's data folder, then send the job again.",
        )
    if _is_out_of_memory(error):
        place = "device" if isinstance(error, torch.OutOfMemoryError) else "machine"
        return problem(
            "out-of-memory",
            "Out of memory",
            HTTPStatus.INSUFFICIENT_STORAGE,
            f"The {place} ran out of memory. Lower memory_budget, calibration.samples or "
            "calibration.sequence_length, or ask for dtype bfloat16.",
        )
    incident = uuid.uuid4().hex
    log.exception("the job failed unexpectedly", incident=incident)
    return problem(
        "internal",
        "The pruning failed unexpectedly",
        HTTPStatus.INTERNAL_SERVER_ERROR,
        f"{type(error).__name__}; the worker's log has the details under incident {incident}.",
        incident=incident,
    )


def _is_out_of_memory(error: Exception) -> bool:
    # What torch cannot have of the machine's memory it says with an error of no class of its own.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


if __name__ == "__main__":
    main()
