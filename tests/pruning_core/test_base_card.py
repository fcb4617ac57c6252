"""The license and the languages of a base model, as its card or the header of its GGUF file says them."""

import shutil
from pathlib import Path

import gguf as gguf_format
import pytest

from pruning_core.base_card import BaseCard, read_base_card
from pruning_core.model_source import find_model
from pruning_core.recipe import ModelReference


@pytest.fixture
def base(tiny_llama: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_llama, tmp_path / "base")


def read(path: Path) -> BaseCard:
    return read_base_card(find_model(ModelReference(id=str(path)), roots=None))


@pytest.mark.parametrize(
    ("front_matter", "expected"),
    [
        ("license: apache-2.0\nlanguage:\n- en\n- de", BaseCard(license="apache-2.0", language=["en", "de"])),
        ("license: [mit, apache-2.0]\nlanguage: en", BaseCard(license=["mit", "apache-2.0"], language="en")),
        # YAML's Norwegian.
        ("license: 3\nlanguage: no", BaseCard()),
        ("language: [en, no]", BaseCard(language=["en"])),
        ("license: ''\nlanguage: []", BaseCard()),
        ("datasets: [secret/data]\nmodel-index: broken", BaseCard()),
        ("license: [", BaseCard()),
        ("- license: mit", BaseCard()),
        ("license: !!python/object/apply:os.system [ls]", BaseCard()),
    ],
)
def test_what_a_card_says(base: Path, front_matter: str, expected: BaseCard) -> None:
    (base / "README.md").write_text(f"---\n{front_matter}\n---\n# A model\n")
    assert read(base) == expected


@pytest.mark.parametrize(
    ("link", "kept"), [("LICENSE", True), ("https://example.com/terms", True), ("TERMS/here.md", False)]
)
def test_a_link_is_kept_that_still_leads_somewhere(base: Path, link: str, kept: bool) -> None:
    (base / "LICENSE").write_text("terms")
    (base / "README.md").write_text(
        f"---\nlicense: other\nlicense_name: ours\nlicense_link: {link}\n---\n# A model\n"
    )
    assert read(base) == BaseCard(license="other", license_name="ours", license_link=link if kept else None)


def test_a_model_without_a_card_says_nothing(base: Path) -> None:
    assert read(base) == BaseCard()
    (base / "README.md").write_bytes(b"\xff\xfe no text")
    assert read(base) == BaseCard()


def test_what_a_gguf_header_says(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    writer = gguf_format.GGUFWriter(file, "llama")
    writer.add_license("other")
    writer.add_license_name("ours")
    writer.add_license_link("https://example.com/terms")
    writer.add_languages(["en"])
    writer.add_vocab_size(512)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    # It is of whatever else was downloaded into that folder.
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    assert read(file) == BaseCard(
        license="other", license_name="ours", license_link="https://example.com/terms", language=["en"]
    )
