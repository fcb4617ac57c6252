"""What comes along with pruned weights: what says how the model is used and under which terms, and nothing secret."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, GenerationConfig

from pruning_core import prune
from pruning_core.companions import is_legal
from tests.hub.client import talk_to
from tests.hub.server import run_hub
from tests.pruning_core.published_recipes import recipe, trust
from tests.tiny_published import make_published

LEGAL = [
    *("LICENSE", "LICENSE.txt", "license.md", "Licence", "LICENSE-APACHE", "LICENSE-2.0.txt", "LICENSE_CODE"),
    *("MODEL_LICENSE", "COPYING", "NOTICE", "NOTICE.md", "Notice.txt", "THIRD-PARTY-NOTICES.txt"),
    *("USE_POLICY.md", "ACCEPTABLE_USE_POLICY.txt", "TERMS_OF_USE.md", "COPYRIGHT", "LICENSE.pdf"),
]
SECRET = [
    *(
        ".env",
        ".netrc",
        "token",
        "hf_token.txt",
        "credentials.json",
        "id_rsa",
        "license.key",
        "license_key.txt",
    ),
    *("license-token", "LICENSE.env", ".LICENSE", "license.json", "license.pem", "NOTICE.py"),
]
LEFT_BEHIND = [
    *(
        "optimizer.pt",
        "optimizer.bin",
        "scheduler.pt",
        "rng_state.pth",
        "trainer_state.json",
        "training_args.bin",
    ),
    *("events.out.tfevents.1", "notes.txt", "train.log", "adapter_model.safetensors.bak", "README.md"),
]
TEMPLATE = "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% endfor %}"
WRITTEN = {
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture
def base(tiny_llama: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_llama, tmp_path / "base")


def pruned(base: Path, tmp_path: Path, *arguments: Any, **options: Any) -> Path:
    prune(recipe(base, "depth", *arguments), tmp_path / "out", **options)
    return tmp_path / "out"


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


@pytest.mark.parametrize("name", LEGAL)
def test_what_says_the_terms(name: str) -> None:
    assert is_legal(name)


@pytest.mark.parametrize("name", [*SECRET, *LEFT_BEHIND])
def test_what_does_not(name: str) -> None:
    assert not is_legal(name)


def test_the_terms_come_along_as_they_are_and_nothing_else_does(base: Path, tmp_path: Path) -> None:
    for name in [*LEGAL, *SECRET, *LEFT_BEHIND]:
        (base / name).write_text(f"the content of {name}")
    (base / "LICENSES").mkdir()
    (base / "LICENSES" / "key").write_text("secret")
    out = pruned(base, tmp_path)
    assert names(out) == WRITTEN | set(LEGAL)
    for name in LEGAL:
        assert (out / name).read_text() == f"the content of {name}"


@pytest.mark.parametrize("place", ["file", "config"])
def test_the_chat_template_comes_along(base: Path, tmp_path: Path, place: str) -> None:
    if place == "file":
        (base / "chat_template.jinja").write_text(TEMPLATE)
    else:
        settings = json.loads((base / "tokenizer_config.json").read_text())
        (base / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": TEMPLATE}))
    tokenizer = AutoTokenizer.from_pretrained(pruned(base, tmp_path))
    chat = [{"role": "user", "content": "hello"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "<user>hello"


def test_it_generates_as_the_base_model_does(base: Path, tmp_path: Path) -> None:
    # Transformers would not write this again after a change: without sampling there is no temperature.
    content = json.dumps(
        {"max_new_tokens": 7, "do_sample": False, "temperature": 0.6, "eos_token_id": [0, 3]}
    )
    (base / "generation_config.json").write_text(content)
    out = pruned(base, tmp_path)
    assert (out / "generation_config.json").read_text() == content
    assert GenerationConfig.from_pretrained(out).eos_token_id == [0, 3]


def test_without_a_generation_config_there_is_what_follows_from_the_config(
    base: Path, tmp_path: Path
) -> None:
    (base / "generation_config.json").unlink()
    assert GenerationConfig.from_pretrained(pruned(base, tmp_path)).eos_token_id == 0


def test_code_that_does_not_come_along_is_not_named(base: Path, tmp_path: Path) -> None:
    for name, classes in (
        ("config.json", {"AutoModelForCausalLM": "modeling.Model"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["tokenization.Tokenizer", None]}),
    ):
        settings = json.loads((base / name).read_text())
        (base / name).write_text(json.dumps(settings | {"auto_map": classes}))
    (base / "modeling.py").write_text("raise RuntimeError('it ran')")
    out = pruned(base, tmp_path)
    assert names(out) == WRITTEN
    assert "auto_map" not in (out / "config.json").read_text() + (out / "tokenizer_config.json").read_text()


@pytest.mark.parametrize("way", ["native", "in_place"])
def test_they_come_along_with_a_model_that_brings_code(way: str, tmp_path: Path) -> None:
    base = make_published("chatglm", tmp_path / "base")
    (base / "MODEL_LICENSE").write_text("terms")
    (base / "chat_template.jinja").write_text(TEMPLATE)
    (base / "generation_config.json").write_text('{"max_new_tokens": 7}')
    (base / ".env").write_text("HF_TOKEN=hf_secret")
    out = pruned(base, tmp_path, way, trusted=trust(base))
    assert (out / "MODEL_LICENSE").read_text() == "terms"
    assert json.loads((out / "generation_config.json").read_text())["max_new_tokens"] == 7
    assert (out / "chat_template.jinja").read_text() == TEMPLATE
    assert {name for name in names(out) if name.endswith(".py")} == (
        {"configuration_chatglm.py", "modeling_chatglm.py"} if way == "in_place" else set()
    )
    assert ".env" not in names(out)


def test_they_are_fetched_of_a_model_on_the_hub_that_brings_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    base = make_published("chatglm", tmp_path / "base")
    (base / "MODEL_LICENSE").write_text("terms")
    (base / "chat_template.jinja").write_text(TEMPLATE)
    with run_hub(base) as hub:
        talk_to(hub, monkeypatch)
        monkeypatch.delenv("HF_TOKEN")
        prune(recipe(Path("owner/name"), "depth"), tmp_path / "out")
    assert (tmp_path / "out" / "MODEL_LICENSE").read_text() == "terms"
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == TEMPLATE
