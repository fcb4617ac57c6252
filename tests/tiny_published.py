"""Tiny repositories as those models were published that bring code of their own: weights, config, code, tokenizer."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from tests.tiny_models import save_checkpoint

CODE = Path(__file__).parent / "published"
CLASSES = {
    "chatglm": ("ChatGLMConfig", "ChatGLMModel", "ChatGLMForConditionalGeneration"),
    "deepseek": ("DeepseekConfig", "DeepseekModel", "DeepseekForCausalLM"),
}


def make_published(model_type: str, folder: Path, **changes: Any) -> Path:
    """Write a repository; `changes` are of the config."""
    folder.mkdir(parents=True)
    for name in ("configuration", "modeling"):
        shutil.copy(CODE / f"{name}_{model_type}.py", folder)
    config_class, base, head = CLASSES[model_type]
    make_config = get_class_from_dynamic_module(f"configuration_{model_type}.{config_class}", folder)
    make_model = get_class_from_dynamic_module(f"modeling_{model_type}.{head}", folder)
    torch.manual_seed(0)
    config = make_config(bos_token_id=0, eos_token_id=0, pad_token_id=0, **changes)
    save_checkpoint(make_model(config), folder)
    written = json.loads((folder / "config.json").read_text())
    written["auto_map"] = {
        "AutoConfig": f"configuration_{model_type}.{config_class}",
        "AutoModel": f"modeling_{model_type}.{base}",
        "AutoModelForCausalLM": f"modeling_{model_type}.{head}",
    }
    (folder / "config.json").write_text(json.dumps(written, indent=2))
    return folder


def mark_import(folder: Path) -> Path:
    """Let the repository's code leave a file when it is imported, and give that file's path."""
    marker = folder / "imported"
    for file in folder.glob("*.py"):
        file.write_text(f"open({str(marker)!r}, 'w').close()\n{file.read_text()}")
    return marker


def random_windows(count: int, length: int) -> torch.Tensor:
    return torch.randint(1, 512, (count, length), generator=torch.Generator().manual_seed(3))
