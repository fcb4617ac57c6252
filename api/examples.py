"""Requests that OpenAPI shows."""

from fastapi.openapi.models import Example

JOB_REQUESTS: dict[str, Example] = {
    "osscar": {
        "summary": "Remove a quarter of each MLP's channels",
        "value": {
            "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
            "method": "osscar",
            "ratio": 0.25,
            "calibration": {"dataset": "wikitext2", "samples": 128, "sequence_length": 2048, "seed": 0},
            "evaluation": {"dataset": "wikitext2", "sequence_length": 2048},
            "destination": {"kind": "local"},
        },
    },
    "depth": {
        "summary": "Remove a tenth of the decoder layers",
        "value": {
            "model": {"id": "HuggingFaceTB/SmolLM2-135M-Instruct", "revision": "main"},
            "method": "depth",
            "ratio": 0.1,
            "calibration": {"dataset": "builtin", "samples": 8, "sequence_length": 1024},
            "evaluation": {"dataset": "builtin", "sequence_length": 1024},
        },
    },
    "hub": {
        "summary": "Publish to a private repository on the Hub",
        "value": {
            "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
            "method": "osscar",
            "ratio": 0.25,
            "destination": {
                "kind": "hub",
                "repo_id": "your-team/smollm2-135m-osscar-25",
                "private": True,
                "revision": "main",
                "overwrite": False,
            },
        },
    },
}
