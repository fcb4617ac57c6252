"""The process that scores one share of another worker's search, and ends. See `worker.child` for why it is one."""

from base64 import b64encode

import structlog
from huggingface_hub import get_token

from jobs import logs
from pruning_core import parse_recipe
from pruning_core.depth.conditions import Conditions
from pruning_core.depth.share import Share
from pruning_core.errors import OtherConditionsError
from pruning_core.recipe import DepthRecipe
from pruning_core.sharing import score_share
from worker.assignment import SCORED, ShareAssignment, recipe_of
from worker.parent import Parent

log = structlog.get_logger()


def main() -> None:
    """Read an assignment from standard input, score, and give the losses on standard output, or none."""
    parent = Parent()
    assignment = ShareAssignment.model_validate_json(parent.hear())
    logs.configure(assignment.log_format, secret=get_token())
    structlog.contextvars.bind_contextvars(job_id=assignment.job_id)
    recipe = parse_recipe(recipe_of(assignment.request))
    assert isinstance(recipe, DepthRecipe)  # noqa: S101  nothing else is shared out
    share = Share.model_validate(assignment.work.share)
    try:
        losses = score_share(
            recipe,
            share,
            Conditions.model_validate(assignment.work.conditions),
            roots=assignment.local_roots,
            trusted=assignment.trusted_remote_code,
            allow_pickle=assignment.allow_pickle,
            device=assignment.device,
            memory_budget=assignment.memory_budget,
        )
    except OtherConditionsError as error:
        log.warning("no help here", reason=str(error))
        return
    parent.tell(SCORED, {"losses": b64encode(share.pack(losses)).decode()})


if __name__ == "__main__":
    main()
