"""Where hidden states rest."""

from pathlib import Path

import pytest
import torch

from pruning_core.budgets import Placement
from pruning_core.shelf import Shelf

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("placement", ["device", "host", "disk"])
def test_a_tensor_comes_back_as_it_was(placement: Placement, dtype: torch.dtype, tmp_path: Path) -> None:
    tensor = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0)).to(dtype).transpose(0, 1)
    kept = Shelf(placement, CPU, tmp_path).keep(tensor)
    assert kept.fetch().dtype == dtype
    assert kept.fetch().equal(tensor)


def test_files_have_no_name_that_somebody_must_remember_to_remove(tmp_path: Path) -> None:
    kept = Shelf("disk", CPU, tmp_path).keep(torch.ones(1000))
    assert list(tmp_path.iterdir()) == []
    assert kept.fetch().sum() == 1000


def test_what_is_on_disk_is_not_in_the_processs_own_memory(tmp_path: Path) -> None:
    tensor = torch.ones(2**20)
    kept = Shelf("disk", CPU, tmp_path).keep(tensor).fetch()
    maps = Path("/proc/self/smaps").read_text().split("Size:")
    (mapped,) = [part for part in maps if str(tmp_path) in part]
    assert f"{hex(kept.data_ptr())[2:]}-" in mapped
    assert "(deleted)" in mapped


def test_nothing_at_all_can_be_kept(tmp_path: Path) -> None:
    assert Shelf("disk", CPU, tmp_path).keep(torch.empty(0, 4)).fetch().shape == (0, 4)
