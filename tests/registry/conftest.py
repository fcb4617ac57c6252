"""A registry of its own for each test, and a result to write about."""

from pathlib import Path
from typing import Any

import pytest

from pruning_core.recipe import parse_recipe
from pruning_core.result import PruneResult
from registry.local import LocalRegistry
from registry.verifying import Finding, Verification

JOB, OTHER_JOB = "11111111-aaaa-4000-8000-000000000000", "22222222-bbbb-4000-8000-000000000000"
NAME = "pruned/tiny-osscar-25-11111111"


@pytest.fixture
def registry(tmp_path: Path) -> LocalRegistry:
    return LocalRegistry(tmp_path / "registry")


def stage(registry: LocalRegistry, job_id: str = JOB, content: str = "weights") -> Path:
    """Stage a checkpoint of two files, as private as `save_pretrained` leaves its weights."""
    folder = registry.stage(job_id)
    (folder / "config.json").write_text("{}")
    (folder / "deeper").mkdir(mode=0o700)
    weights = folder / "deeper" / "model.safetensors"
    weights.write_text(content)
    weights.chmod(0o600)
    return folder


def findings(registry: LocalRegistry) -> list[Finding]:
    """Verify all that is published."""
    verification = Verification(registry.root)
    return [finding for name in registry.layout.models() for finding in verification.verify(name)]


def make_result(**changes: Any) -> PruneResult:
    """The result of narrowing SmolLM2's MLPs by a quarter."""
    recipe = {
        "model": {"id": "HuggingFaceTB/SmolLM2-135M", "revision": "93efa2f097d58c2a74874c7e644dbc9b0cee75a2"},
        "method": "osscar",
        "ratio": 0.25,
        "calibration": {"dataset": "wikitext2", "seed": 7},
    } | changes.pop("recipe", {})
    text = {"dataset": "wikitext2", "sha256": "c" * 64, "windows": 128, "sequence_length": 2048}
    values: dict[str, Any] = {
        "recipe": parse_recipe(recipe),
        "base_card": {"license": "apache-2.0", "language": ["en"]},
        "base_digests": {},
        "converted_to": None,
        "plan": {
            "layers_before": 30,
            "layers_after": 30,
            "intermediate_size_before": 1536,
            "intermediate_size_after": 1152,
            "parameters_before": 134_515_008,
            "parameters_after": 114_608_448,
            "removed_share": 0.148,
        },
        "removed_layers": [],
        "perplexity_before": 21.60812,
        "perplexity_after": 30.12349,
        "parameters_before": 134_515_008,
        "parameters_after": 114_608_448,
        "dtype": "float32",
        "device": "cpu",
        "machine": {
            "system": "Linux-6.1.0-x86_64-with-glibc2.36",
            "processor": "AMD EPYC 7B13",
            "capability": "AVX2",
            "cores": 2,
            "threads": 1,
            "memory_bytes": 24 * 2**30,
            "gpu": None,
            "cuda": None,
        },
        "memory_budget": {},
        "memory_plan": {"weights": "resident", "hidden_states": "device"},
        "calibration": text,
        "evaluation": text | {"windows": 148, "sha256": "e" * 64},
        "vocabulary_windows": 0,
        "held_out": {"perplexity_before": 11.0, "perplexity_after": 12.5, "windows": 1},
        "layer_losses": [],
        "candidates": [],
        "healed_layers": [],
        "seconds": 123.4,
        "peak_rss_bytes": 10**9,
        "versions": {"python": "3.11.7", "torch": "2.9.0", "transformers": "5.23.0"},
    }
    return PruneResult.model_validate(values | changes)
