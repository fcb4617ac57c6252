"""Where a pruned checkpoint may go."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class LocalDestination(BaseModel):
    """Secateur's own registry."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["local"] = "local"
