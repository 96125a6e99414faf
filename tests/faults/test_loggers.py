"""Services that keep logs know a resumed run by the id that they gave it when it began."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from equissl.training import loggers


class MissingRun(Exception):
    """As mlflow raises it for an id that the server does not know."""


class Services:
    """Stand-ins for wandb and mlflow that remember how runs were opened."""

    def __init__(self) -> None:
        self.opened: list[str | None] = []
        self.known = True

    def open(self, given: str | None) -> str:
        if given and not self.known:
            raise MissingRun
        self.opened.append(given)
        return given or f"id{len(self.opened)}"

    def init(self, id: str | None = None, **options: Any) -> Any:
        assert options["resume"] == "allow"
        return SimpleNamespace(id=self.open(id), log=lambda *a, **k: None, finish=lambda: None)

    def start_run(self, run_id: str | None = None, run_name: str = "") -> Any:
        return SimpleNamespace(info=SimpleNamespace(run_id=self.open(run_id)))


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Services:
    made = Services()
    nothing = {"set_experiment": print, "end_run": print, "log_metrics": print}
    mlflow = SimpleNamespace(
        start_run=made.start_run, exceptions=SimpleNamespace(MlflowException=MissingRun), **nothing
    )
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=made.init))
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setattr(loggers, "check_installed", lambda names: None)
    return made


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_resumed_run_is_the_same_run_there(tmp_path: Path, services: Services, name: str) -> None:
    for step in (0, 5, 9):
        for logger in loggers.open_loggers(tmp_path, [name], step):
            logger.close()
    assert services.opened == [None, "id1", "id1"]


def test_an_id_that_the_server_does_not_know_begins_a_new_run(tmp_path: Path, services: Services) -> None:
    loggers.open_loggers(tmp_path, ["mlflow"])
    services.known = False
    loggers.open_loggers(tmp_path, ["mlflow"], 3)
    assert services.opened == [None, None]
