"""Which models with code of their own are described."""

from pruning_core.twins.chatglm import CHATGLM_MODEL
from pruning_core.twins.deepseek import DEEPSEEK_MODEL
from pruning_core.twins.description import PublishedModel

PUBLISHED: dict[str, PublishedModel] = {
    model_type: model for model in (CHATGLM_MODEL, DEEPSEEK_MODEL) for model_type in model.family.model_types
}
"""By the `model_type` of their configs."""


def table() -> str:
    """What is supported, in Markdown."""
    rows = [
        "| models | `model_type` | native twin | decoder layers | MLP | width |",
        "|---|---|---|---|---|---|",
    ]
    for model_type, model in PUBLISHED.items():
        family = model.family
        mlp = " · ".join(f"`{path}`" for path in (*family.mlp.producers, family.mlp.consumer))
        rows.append(
            f"| {family.name} | `{model_type}` | `{model.twin.model_type}` | `{family.layers}` | {mlp} | "
            f"`{family.width_field}` |"
        )
    return "\n".join(rows)
