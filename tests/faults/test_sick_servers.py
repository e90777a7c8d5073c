"""A model server that fails under a measurement: what it did is infrastructure's, and the measurement comes out as it would have, or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.engine import Engine
from engine.errors import NotFound
from engine.evaluate.jobs import EvaluateOutput
from engine.jobs.types import Run
from tests.escalate.complete import escalated
from tests.generate.conftest import tagged_processes
from tests.workspaces import domain_file, finish, make_workspace, rows, write_domain


class Measuring:
    """A workspace on a server of the scripted double, and its base measured again and again."""

    def __init__(self, root: Path) -> None:
        self.workspace = make_workspace(root, profile={"server": True, "base_skill": 0.5})
        write_domain(self.workspace, "tickets", domain_file(), train=rows(0, 40), evaluation=rows(1000, 60))
        self.engine = Engine.open(self.workspace)
        self.undisturbed = said(self.measured())  # and there is a server, with a place for its faults

    def measured(self, *faults: dict[str, Any]) -> Run:
        """A measurement that no cached answer shortens, while these faults happen."""
        shutil.rmtree(self.workspace.answers, ignore_errors=True)
        for server in self.workspace.servers.glob("*"):
            (server / "faults.json").write_text(json.dumps(faults))
        return finish(self.engine, self.engine.evaluate("tickets", "base", ("core",)).id)

    def to_come(self) -> int:
        """Faults that have not happened yet."""
        return sum(fault.get("times", 1) for path in self.workspace.servers.glob("*/faults.json") for fault in json.loads(path.read_bytes()))


@pytest.fixture(scope="module")
def measuring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measuring]:
    found = Measuring(tmp_path_factory.mktemp("measuring"))
    yield found
    found.engine.servers.stop_all()
    found.engine.close()
    assert not tagged_processes(found.workspace)


def said(run: Run) -> list[tuple[Any, ...]]:
    """What a measurement says of the model."""
    assert run.output is not None, run.error
    splits = EvaluateOutput.model_validate({key: value for key, value in run.output.items() if key != "artifacts"}).summary.splits
    return [(split.split, split.errors, split.score, split.pass_rate) for split in splits]


def test_a_server_that_cuts_babbles_errs_and_dies_under_a_measurement_changes_no_figure_of_it(measuring: Measuring) -> None:
    disturbed = measuring.measured(
        {"fault": "half", "after": 5, "times": 3},
        {"fault": "garbage", "after": 8, "times": 3},
        {"fault": "error", "after": 11, "times": 3},
        {"fault": "die", "after": 20},
    )
    assert measuring.to_come() == 0
    assert said(disturbed) == measuring.undisturbed
    assert [errors for _, errors, *_ in said(disturbed)] == [0]


def test_a_server_that_never_starts_gives_no_figure_and_is_escalated_as_infrastructure(measuring: Measuring) -> None:
    measuring.engine.servers.stop_all()
    failed = measuring.measured({"fault": "die", "at": "start", "times": 99})
    assert (failed.state, failed.output) == ("failed", None)
    with pytest.raises(NotFound):
        measuring.engine.diagnose("tickets", failed.id)
    found = escalated(measuring.engine, failed.id)
    assert (found.class_guess, found.failure.code) == ("infrastructure", "server_failed")
