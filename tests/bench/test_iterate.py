"""What the bench of an iterate run counts, and which run it takes."""

from __future__ import annotations

import os
from typing import Any

import pytest

from bench.iterate import generating_seconds, newest
from engine.base.files import write_json
from engine.base.paths import Workspace


class RunStates:
    """The daemon, as far as it knows in which state a run is."""

    def __init__(self, states: dict[str, str]) -> None:
        self.states = states

    def call(self, tool: Any, arguments: dict[str, Any]) -> Any:
        return {"state": self.states[arguments["run_id"]]}


def test_both_batches_of_a_measurement_count_as_generating() -> None:
    summary = {"seconds": 4.0}
    assert generating_seconds({"summary": summary, "structured_effect": {"seconds": 3.0}}) == 7.0
    assert generating_seconds({"summary": summary, "structured_effect": None}) == 4.0


def test_the_newest_finished_iterate_run_is_found_behind_any_number_of_others(tmp_path) -> None:
    workspace = Workspace(tmp_path)
    kinds = ["iterate", "iterate", "iterate", *["evaluate"] * 8]
    for number, kind in enumerate(kinds):
        config = workspace.run(f"{kind}-{number}").config
        write_json(config, {"kind": kind})
        os.utime(config, (number, number))
    states = RunStates({"iterate-0": "succeeded", "iterate-1": "succeeded", "iterate-2": "failed"})
    assert newest(states, workspace) == "iterate-1"
    with pytest.raises(SystemExit):
        newest(RunStates(dict.fromkeys(states.states, "failed")), workspace)
