"""Two CPU processes equal one: BatchNorm with gradients and statistics, whole runs; one may die."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from test_train import tiny
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from equissl.cli.main import main
from equissl.data.image_folder import write_images
from equissl.distributed import available_cores, world_size
from equissl.errors import UserError
from equissl.nn.sync_batch_norm import SyncBatchNorm, synchronise_batch_norm
from equissl.runs.folder import open_run
from equissl.training import checkpoint
from equissl.training.loop import train
from equissl.training.optim import SGD
from equissl.training.options import Options
from equissl.training.processes import Layout, lost_processes_in_words, start_processes

TESTS = Path(__file__).parents[1]
SPLIT = (3, 8)  # images of the first process, and of both: uneven on purpose


def _network() -> nn.Module:
    torch.manual_seed(0)
    fused = BatchNormAct2d(6)
    nn.init.uniform_(fused.weight)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False),
        fused,
        nn.BatchNorm2d(6, affine=False, momentum=None),
        nn.Flatten(),
        nn.Linear(6 * 36, 5),
        nn.BatchNorm1d(5, track_running_stats=False),
    ).double()


def _step(rows: slice, dtype: torch.dtype) -> dict[str, Any]:
    """Two forward passes and the gradients of the sum over the images ``rows``, all of 8."""
    network = _network().to(dtype)
    if world_size() > 1:
        network = synchronise_batch_norm(network, torch.device("cpu"))
        assert sum(isinstance(m, SyncBatchNorm) for m in network.modules()) == 3
    noise = torch.Generator().manual_seed(1)
    images, weights = (torch.randn(8, *s, generator=noise, dtype=torch.float64) for s in ((3, 8, 8), (5,)))
    x = (images + (1 if dtype == torch.float32 else 100)).to(dtype)[rows].requires_grad_()
    for _ in range(2):
        out: Tensor = network(x)
    (out * weights.to(dtype)[rows]).sum().backward()  # type: ignore[no-untyped-call]
    gradients = {n: p.grad for n, p in network.named_parameters()}
    return {"out": out.detach(), "x": x.grad, "gradients": gradients, "state": network.state_dict()}


def _shard(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    rows = (slice(0, SPLIT[0]), slice(*SPLIT))[rank]
    for dtype in (torch.float64, torch.float32):
        torch.save(_step(rows, dtype), os.path.join(folder, f"{dtype}{rank}.pt"))
    with pytest.raises(ValueError, match="one value per channel"):
        SyncBatchNorm(nn.BatchNorm1d(3))._track(torch.zeros(3), torch.zeros(3), 1.0)
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    mp.start_processes(_shard, (str(folder),), nprocs=2, start_method="spawn")
    return folder


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_batch_norm_over_two_uneven_processes_is_that_of_one(
    shards: Path, dtype: torch.dtype, tolerance: float
) -> None:
    whole = _step(slice(0, 8), dtype)
    a, b = (torch.load(shards / f"{dtype}{r}.pt") for r in range(2))
    close = {"rtol": tolerance, "atol": tolerance, "check_dtype": False}
    torch.testing.assert_close(torch.cat([a["out"], b["out"]]), whole["out"], **close)
    torch.testing.assert_close(torch.cat([a["x"], b["x"]]), whole["x"], **close)
    for name, gradient in whole["gradients"].items():
        torch.testing.assert_close(a["gradients"][name] + b["gradients"][name], gradient, **close)
    assert whole["state"].keys() == a["state"].keys() == b["state"].keys()
    for name, value in whole["state"].items():
        assert torch.equal(a["state"][name], b["state"][name])
        torch.testing.assert_close(a["state"][name], value, **close)


RUN = """
import os, sys, signal
from pathlib import Path
sys.path[:0] = {path!r}
from test_two_processes import RECIPE
from equissl.training.loop import train
from equissl.training.optim import SGD
from equissl.training.options import Options
from equissl.training.processes import Layout, lost_processes_in_words, start_processes
if __name__ == "__main__":
    train(RECIPE, Path(sys.argv[1]), Options(accelerator="cpu", loggers=(), log_every=1))
"""
RECIPE = tiny(optimizer=SGD(lr=1e-3), epochs=1, monitor_every=0)


def test_torchrun_without_devices_is_one_run_and_equals_one_process(tmp_path: Path) -> None:
    """Forgotten ``devices=`` starts no second run in the same folder: the batch is divided."""
    script = tmp_path / "run.py"
    script.write_text(RUN.format(path=[str(TESTS), str(TESTS / "faults")]), encoding="utf-8")
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, *words, str(tmp_path / "two")],
        check=True,
        timeout=300,
        capture_output=True,
        env=environment,
    )
    one = train(RECIPE, tmp_path / "one", Options(accelerator="cpu", loggers=(), log_every=1))
    two = open_run(tmp_path / "two")
    saved = [checkpoint.load(run.checkpoints) for run in (one, two)]
    assert [s["world_size"] for s in saved] == [1, 2] and saved[1]["step"] == 3
    for ours, theirs in zip(one.log, two.log, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-6 if ours["step"] == 1 else 1e-5)
    for name, value in saved[0]["model"].items():
        torch.testing.assert_close(saved[1]["model"][name], value, rtol=1e-5, atol=1e-6, msg=name)


class Unused(nn.Module):
    """A backbone with a head that no loss depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 16, 3, 2), nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.conv(images)
        return features


def _train_own(rank: int, folder: str, port: int) -> None:
    ranks = {"LOCAL_RANK": rank, "RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    os.environ |= {n: str(v) for n, v in ranks.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    _train_unused(Path(folder, "two"), devices=2)


def _train_unused(out: Path, devices: int) -> None:
    torch.manual_seed(0)
    options = Options(accelerator="cpu", loggers=(), log_every=1, devices=devices)
    train(RECIPE, out, options, encoder=RECIPE.encoder.wrap(Unused()))


@pytest.mark.slow
def test_an_own_module_with_parameters_that_are_not_used(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.start_processes(_train_own, (str(tmp_path), port), nprocs=2, start_method="spawn")
    _train_unused(tmp_path / "one", devices=1)
    one, two = (checkpoint.load(tmp_path / n / "checkpoints")["model"] for n in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_parameters_that_are_not_used_are_said(tmp_path: Path) -> None:
    said = "Expected to have finished reduction in the prior iteration before starting a new one."
    with pytest.raises(UserError, match="no loss depends on"), lost_processes_in_words(tmp_path):
        raise RuntimeError(said)


def test_another_number_than_the_launcher_started_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LOCAL_RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"devices=3, but a launcher .* started 4 processes"):
        start_processes(3, "cpu")
    assert start_processes(1, "cpu") == start_processes(4, "cpu") == Layout(devices=2, nodes=2)


def test_devices_are_bounded_by_the_cores(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cores = available_cores()
    with pytest.raises(UserError, match=f"devices=100000: this machine has {cores} CPU core"):
        start_processes(100_000, "cpu")
    assert main(["pretrain", str(tmp_path), f"out={tmp_path / 'x'}", "devices=100000", "device=cpu"]) == 2
    assert f"set devices={cores} or less" in capsys.readouterr().err


DEAD = """
import os, signal, sys
from equissl.cli.main import main
from equissl.training import loop
step = loop.training_step
def dies(*arguments, **options):
    if os.environ["LOCAL_RANK"] == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*arguments, **options)
loop.training_step = dies
if __name__ == "__main__":
    sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_dies_ends_the_others_in_words(tmp_path: Path, rank: int) -> None:
    write_images(tmp_path / "photos", {"x": 12})
    script, log = tmp_path / "dead.py", tmp_path / "log"
    script.write_text(DEAD, encoding="utf-8")
    words = ["pretrain", str(tmp_path / "photos"), f"out={tmp_path / 'run'}", "devices=2", "device=cpu"]
    words += ["loggers=[]", "epochs=1", "encoder.name=test_resnet", "batch_size=8", "encoder.size=16"]
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, str(script), str(rank), *words], stdout=file, stderr=file)
        code = process.wait(300)
    expected = "process 1 of 2 ended by SIGKILL" if rank else "the first process ended"
    deadline = time.monotonic() + 120
    while expected not in log.read_text(encoding="utf-8") and time.monotonic() < deadline:
        time.sleep(0.1)
    text = log.read_text(encoding="utf-8")
    assert expected in text and f"`equissl resume {tmp_path / 'run'}` goes on from" in text
    assert code == (2 if rank else -9) and not any(w in text for w in ("fault of", "Traceback", "peer"))
