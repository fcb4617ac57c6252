"""The commands, as a script or a person calls them."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.cli.invoking import invoke
from tests.estimated_models import CONFIGS, ROWS
from tests.running_service import Service
from tests.tiny_models import make_tiny_llama

TEXT = ["--calibration", "builtin", "--samples", "8", "--sequence-length", "64"]
EVALUATION = [
    *("--evaluation", "builtin", "--evaluation-sequence-length", "64", "--evaluation-samples", "2"),
]


def secateur(*arguments: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.main", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200", **env}, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def answer(*arguments: str, **env: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(secateur(*arguments, "--json", **env).stdout)
    return parsed


def parsed(*arguments: str, **env: str) -> dict[str, Any]:
    answered: dict[str, Any] = json.loads(invoke(*arguments, "--json", **env).stdout)
    return answered


def test_help_starts_without_torch() -> None:
    check = (
        "import sys\n"
        "from cli.main import app\n"
        "from typer.testing import CliRunner\n"
        "done = CliRunner().invoke(app, ['--help'])\n"
        "assert done.exit_code == 0 and 'prune' in done.output\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


def test_prune_prints_one_object_with_what_benchmarks_read(tiny_llama: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    pruned = answer(
        *("prune", str(tiny_llama), "--method", "osscar", "--ratio", "0.5", "--output", str(output)),
        *TEXT,
        *EVALUATION,
    )
    assert pruned["intermediate_size"] == 128
    assert pruned["parameters_after"] < pruned["parameters_before"]
    assert pruned["seconds"] > 0
    assert pruned["peak_rss_bytes"] > 10**8
    assert (output / "README.md").exists()

    measured = parsed(
        "evaluate", str(output), "--text", "builtin", "--sequence-length", "64", "--samples", "2"
    )
    assert measured["perplexity"] == pytest.approx(pruned["perplexity_after"], rel=1e-5)


def test_prune_that_was_killed_goes_on_from_its_work_folder(tmp_path: Path) -> None:
    deep = make_tiny_llama(tmp_path / "deep", num_hidden_layers=16)
    recipe = ["prune", str(deep), "--method", "osscar", "--ratio", "0.5", *TEXT, *EVALUATION]
    work = tmp_path / "work"
    command = [*recipe, "--output", str(tmp_path / "out"), "--work-folder", str(work)]
    with subprocess.Popen([sys.executable, "-m", "cli.main", *command], stderr=subprocess.DEVNULL) as killed:
        while not list(work.rglob("walk.safetensors")):
            assert killed.poll() is None, "it was not killed in time"
            time.sleep(0.01)
        killed.kill()
    assert not (tmp_path / "out" / "config.json").exists()
    parsed(*command)
    assert list(work.iterdir()) == []
    parsed(*recipe, "--output", str(tmp_path / "undisturbed"))
    resumed, undisturbed = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "undisturbed")
    )
    assert resumed == undisturbed


def test_prune_by_depth_names_the_removed_layers(tiny_llama: Path, tmp_path: Path) -> None:
    arguments = ["prune", str(tiny_llama), "--method", "depth", "--ratio", "0.25", "--output", str(tmp_path)]
    pruned = parsed(*arguments, *TEXT, *EVALUATION)
    assert len(pruned["removed_layers"]) == 1
    refused = invoke(*arguments, *TEXT, *EVALUATION, code=2)
    assert "this folder is not empty" in refused.stderr


def test_prune_writes_a_gguf_file_where_it_is_asked_to(tiny_llama: Path, tmp_path: Path) -> None:
    arguments = ["prune", str(tiny_llama), "--method", "osscar", "--ratio", "0.5", "--output", str(tmp_path)]
    assert parsed(*arguments, "--gguf", *TEXT, *EVALUATION)["recipe"]["formats"] == ["safetensors", "gguf"]
    assert {"model.safetensors", "model-F32.gguf"} <= {file.name for file in tmp_path.iterdir()}
    assert ".gguf" in (tmp_path / "README.md").read_text()


def test_prune_removes_the_layers_that_are_named(tiny_llama: Path, tmp_path: Path) -> None:
    arguments = ["prune", str(tiny_llama), "--method", "depth", *TEXT, *EVALUATION]
    pruned = parsed(
        *arguments, "--remove-layers", "2,0", "--heal", "boundary", "--output", str(tmp_path / "out")
    )
    assert pruned["removed_layers"] == [0, 2]
    assert [layer["layer"] for layer in pruned["healed_layers"]] == [1]
    refused = invoke(*arguments, "--remove-layers", "0-2", "--output", str(tmp_path / "no"), code=2)
    assert "'0-2' is not a list of layers, such as 12,13,14" in " ".join(refused.stderr.split())
    refused = invoke(*arguments, "--output", str(tmp_path / "no"), code=2)
    assert "Give a ratio, or name the layers in options.layers." in refused.stderr


def test_prune_says_that_it_has_no_workers_to_share_with(tiny_llama: Path, tmp_path: Path) -> None:
    arguments = ["prune", str(tiny_llama), "--method", "depth", "--ratio", "0.25", "--output", str(tmp_path)]
    refused = invoke(*arguments, "--parallelism", "2", *TEXT, *EVALUATION, code=2)
    assert refused.stderr.startswith("error: options.parallelism = 2: this command prunes in one process")


def test_what_cannot_work_is_one_sentence_and_exit_code_2(tiny_llama: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    arguments = ["prune", str(tiny_llama), "--method", "osscar", "--output", output, *TEXT, *EVALUATION]
    refused = invoke(*arguments, "--ratio", "0.01", code=2)
    assert refused.stderr.startswith("error: ratio = 0.01:")
    assert "Traceback" not in refused.stderr
    refused = invoke(*arguments, "--ratio", "1.5", code=2)
    assert "ratio" in refused.stderr
    refused = invoke("evaluate", str(tmp_path), "--text", "builtin", code=2)
    assert "config.json" in refused.stderr


@pytest.mark.parametrize(
    ("model", "arguments", "share"),
    [
        ("Llama-2-7b", ["--method", "osscar", "--ratio", "0.1"], 0.067224),
        ("Llama-2-7b", ["--method", "depth", "--layers", "3"], 0.090103),
        ("chatglm3-6b", ["--method", "osscar", "--ratio", "0.1"], 0.077590),
        ("deepseek-moe-16b", ["--method", "depth", "--layers", "3"], 0.107695),
    ],
)
def test_estimate_needs_a_config_and_nothing_else(
    tmp_path: Path, model: str, arguments: list[str], share: float
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS[model]))
    estimate = parsed("estimate", str(tmp_path), *arguments)
    assert estimate["parameters_before"] == next(row.parameters for row in ROWS if row.model == model)
    assert estimate["removed_share"] == pytest.approx(share, abs=1e-6)
    assert estimate.keys() >= {
        *("parameters_before", "parameters_after", "removed_share"),
        *("intermediate_size_before", "intermediate_size_after", "layers_before", "layers_after"),
        *("result_bytes", "peak_device_bytes", "disk_bytes"),
    }
    assert "removed_share" in invoke("estimate", str(tmp_path), *arguments).stdout


def test_without_a_service_the_way_to_one_is_said(tmp_path: Path) -> None:
    refused = secateur("list", "--data", str(tmp_path), "--url", "http://127.0.0.1:9", code=2)
    assert "secateur up" in refused.stderr


def test_a_job_from_submit_to_its_end(service: Service, tiny_llama: Path) -> None:
    url = str(service.http.base_url)
    submitted = answer(
        *("submit", str(tiny_llama), "--method", "depth", "--ratio", "0.25", *TEXT, *EVALUATION),
        SECATEUR_URL=url,
    )
    assert submitted["state"] == "queued"
    watched = secateur("watch", submitted["id"], SECATEUR_URL=url)
    assert "4 → 3 layers" in watched.stdout
    assert "publishing" in watched.stderr or "succeeded" in watched.stderr
    assert answer("watch", submitted["id"], SECATEUR_URL=url)["state"] == "succeeded"
    listed = answer("list", "--state", "succeeded", SECATEUR_URL=url)
    assert submitted["id"] in {job["id"] for job in listed["items"]}
    table = secateur("list", "--data", str(service.data_dir)).stdout
    assert submitted["id"] in table
    refused = secateur("cancel", submitted["id"], code=2, SECATEUR_URL=url)
    assert "succeeded" in refused.stderr


def test_a_job_for_the_hub_says_so_and_fails_before_it_prunes_where_there_is_none(
    service: Service, tiny_llama: Path
) -> None:
    url = str(service.http.base_url)
    job = parsed(
        *("submit", str(tiny_llama), "--method", "depth", "--ratio", "0.25", *TEXT, *EVALUATION),
        *("--hub", "team/model", "--hub-branch", "half", "--public", "--overwrite"),
        SECATEUR_URL=url,
    )
    asked = {"kind": "hub", "repo_id": "team/model", "private": False, "revision": "half", "overwrite": True}
    assert job["request"]["destination"] == asked
    failed = service.finish(job["id"])
    assert failed["error"]["type"] == "/problems/hub-away"
    assert failed["perplexity"]["before"] is None


def test_what_is_about_the_hub_goes_with_a_repository() -> None:
    refused = invoke("submit", "some/model", "--method", "depth", "--public", code=2)
    assert "--hub" in refused.stderr


def test_a_checkpoint_goes_to_the_registry_or_to_the_hub() -> None:
    where = ["--name", "team/small", "--hub", "team/small"]
    refused = invoke("submit", "some/model", "--method", "depth", *where, code=2)
    assert "--name" in refused.stderr


def test_submit_names_the_model_that_a_job_makes_a_version_of(service: Service, tiny_llama: Path) -> None:
    url = str(service.http.base_url)
    job = parsed(
        *("submit", str(tiny_llama), "--method", "depth", "--ratio", "0.25", *TEXT, *EVALUATION),
        *("--name", "team/small"),
        SECATEUR_URL=url,
    )
    assert job["request"]["destination"] == {"kind": "local", "name": "team/small"}
    finished = service.finish(job["id"])
    assert finished["artifact"]["name"] == "team/small", finished["error"]
    shown = parsed("registry", "show", "team/small@main", "--data", str(service.data_dir))
    assert shown["commit"] == finished["artifact"]["commit"]
    assert shown["location"] == finished["artifact"]["location"]


def test_a_cancelled_job_is_exit_code_1(service: Service, slow_llama: Path) -> None:
    url = str(service.http.base_url)
    job = answer(
        *("submit", str(slow_llama), "--method", "osscar", "--ratio", "0.5", *EVALUATION),
        *("--calibration", "builtin", "--samples", "1000", "--sequence-length", "64"),
        SECATEUR_URL=url,
    )
    assert "cancel" in secateur("cancel", job["id"], SECATEUR_URL=url).stdout
    assert secateur("watch", job["id"], code=1, SECATEUR_URL=url).stderr.strip().endswith("cancelled")


def test_the_service_refuses_and_the_command_says_its_sentence(service: Service, models: Path) -> None:
    url = str(service.http.base_url)
    refused = secateur(
        *("submit", str(models), "--method", "depth", "--ratio", "0.25", *TEXT, *EVALUATION),
        code=2,
        SECATEUR_URL=url,
    )
    assert "config.json" in refused.stderr


def test_pickled_weights_are_evaluated_only_where_that_is_allowed(tiny_llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "pickled")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    command = ["evaluate", str(folder), "--text", "builtin", "--sequence-length", "64", "--samples", "2"]
    assert "SECATEUR_ALLOW_PICKLE" in invoke(*command, code=2).stderr
    allowed = parsed(*command, "--allow-pickle")["perplexity"]
    assert allowed == parsed(*command, SECATEUR_ALLOW_PICKLE="1")["perplexity"]
