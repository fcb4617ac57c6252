"""What a registry holds in the tests of `secateur registry`, wherever it is."""

from registry.local import LocalArtifact
from registry.opening import Registry

NAME = "team/small"
JOBS = ["11111111-aaaa-4000-8000-000000000000", "22222222-bbbb-4000-8000-000000000000"]


def publish_two(registry: Registry) -> list[LocalArtifact]:
    """Publish two versions of a model, the older one first."""
    artifacts = []
    for job_id in JOBS:
        staged = registry.stage(job_id)
        (staged / "config.json").write_text("{}")
        (staged / "model.safetensors").write_text(job_id)
        artifacts.append(registry.publish(job_id, job_id, NAME))
    return artifacts
