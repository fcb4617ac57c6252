"""Recipes for the tiny models that bring code of their own, and a process that has never heard of us."""

import json
from pathlib import Path
from typing import Any

from pruning_core import parse_recipe
from pruning_core.model_code import ModelCode
from tests.fresh_process import run_fresh

RATIOS = {"osscar": 0.5, "depth": 0.25}

LOAD_AND_GENERATE = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, trust = sys.argv[1], sys.argv[2] == "in_place"
model, loaded = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=trust, output_loading_info=True)
assert not any(loaded.values()), loaded
assert AutoTokenizer.from_pretrained(folder, trust_remote_code=False)("some text")["input_ids"]
tokens = torch.arange(1, 40)[None]
with torch.no_grad():
    logits = model(input_ids=tokens).logits
options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
cached, uncached = (model.generate(tokens, **options, use_cache=cache) for cache in (True, False))
assert not [name for name in sys.modules if name.startswith("pruning_core")]
print(json.dumps({
    "class": type(model).__name__,
    "logits": logits.flatten().tolist(),
    "generated": [cached.flatten().tolist(), uncached.flatten().tolist()],
}))
"""


def recipe(folder: Path, method: str, remote_code: str = "native", **changes: Any) -> Any:
    ratio = {} if "layers" in changes.get("options", {}) else {"ratio": RATIOS[method]}
    return parse_recipe(
        {
            "model": str(folder),
            "method": method,
            "remote_code": remote_code,
            "calibration": {"dataset": "builtin", "samples": 16, "sequence_length": 64},
            "evaluation": {"dataset": "builtin", "samples": 2, "sequence_length": 64},
            **ratio,
            **changes,
        }
    )


def trust(folder: Path) -> list[str]:
    """The allow-list of an operator who read the code of a folder as it is now."""
    return [f"{folder}@{ModelCode.read(folder).digest}"]


def load_elsewhere(folder: Path, remote_code: str) -> dict[str, Any]:
    """Load a checkpoint in another process, run it and generate."""
    printed = run_fresh(LOAD_AND_GENERATE, str(folder), remote_code, folder=folder)
    loaded: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return loaded
