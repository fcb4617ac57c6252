"""`tensor_parallel.json` is what the installed transformers gives, and what is read from it counts and refuses."""

import json

import pytest
import transformers
from transformers import CONFIG_MAPPING

from pruning_core.errors import UnsupportedFamilyError
from pruning_core.models.registry import describe, described_model_types, planned_model_types
from pruning_core.models.tensor_parallel import DATA, GENERATED_FROM, PLANNED, REFUSED
from pruning_core.twins.registry import PUBLISHED
from tests.tensor_parallel.derive import require_counts
from tests.tensor_parallel.generate import BROKEN, ROOT, derive_all
from tests.tensor_parallel.skeletons import make_config

ENTRIES = json.loads(DATA.read_text())["families"]


def test_the_data_is_of_the_transformers_that_is_installed_for_tests() -> None:
    assert f"transformers=={GENERATED_FROM}" in (ROOT / "constraints.txt").read_text().split()


@pytest.mark.skipif(
    transformers.__version__ != GENERATED_FROM,
    reason=f"the data was generated from transformers {GENERATED_FROM}",
)
def test_the_data_is_what_the_generator_gives() -> None:
    """All but the contract, by which families of the data are tested in `test_families.py`."""
    families, refused = derive_all()
    broken = {model_type for model_type, why in REFUSED.items() if why.startswith(BROKEN)}
    assert families.keys() - broken == ENTRIES.keys()
    assert {name: entry for name, entry in families.items() if name in ENTRIES} == ENTRIES
    assert refused == {name: why for name, why in REFUSED.items() if name not in broken}


@pytest.mark.parametrize("model_type", planned_model_types())
def test_parameters_are_those_of_the_models(model_type: str) -> None:
    if model_type not in CONFIG_MAPPING:
        pytest.skip(f"transformers {transformers.__version__} has no {model_type}")
    require_counts(model_type, ENTRIES[model_type])


def test_what_somebody_described_is_not_read_from_a_plan() -> None:
    assert PLANNED.keys().isdisjoint({*described_model_types(), *PUBLISHED})
    assert set(planned_model_types()) == PLANNED.keys()


def test_a_family_whose_plan_is_not_enough_is_refused_with_the_reason_and_where_to_look() -> None:
    with pytest.raises(UnsupportedFamilyError) as refused:
        describe({"model_type": "deepseek_v3"}, "any")
    assert refused.value.reason.endswith(
        "its tensor-parallel plan is not enough to go by: its layers hold experts."
    )
    assert "chatglm, deepseek" in refused.value.remedy
    assert "docs/families.md" in refused.value.remedy


@pytest.mark.parametrize("changes", [{"attention_bias": True}, {"qkv_bias": True}])
def test_a_flag_that_was_not_tried_the_other_way_is_refused_by_either_name(changes: dict[str, bool]) -> None:
    config = make_config("internlm3").to_dict()
    describe(config, "any")
    if "qkv_bias" in changes:
        del config["attention_bias"]
    with pytest.raises(UnsupportedFamilyError, match="attention_bias = True, and of this family only False"):
        describe(config | changes, "any")
