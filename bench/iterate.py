"""Where the time of an iterate run goes: everything that is neither generating nor training, as a share of the whole.

    python -m bench.iterate [RUN_ID]      default: the newest finished iterate run of this workspace

Reads a finished run (`make demo` makes one) through the daemon. Generating is the wall time of a measurement's batches: of all its items, and
of core once more with the switch of constrained decoding the other way. Training is the time of the optimiser's steps. All else is overhead:
starting processes and the model server, compiling, the floor, loading, merging, hashing, deciding. Steps that ran side by side are counted
once: the run's wall time is the whole. Prints one JSON document last.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from engine.base.files import read_json
from engine.base.paths import Workspace
from engine.loading import find_workspace
from server.client import Client
from tools import TOOLS
from tools.tool import find_tool

LIMIT = 0.10


def main() -> int:
    workspace = find_workspace(Path.cwd())
    client = Client(workspace)
    run_id = sys.argv[1] if len(sys.argv) > 1 else newest(client, workspace)
    status = client.call(find_tool(TOOLS, "run_status"), {"run_id": run_id})
    generating = training = 0.0
    for step in status["steps"]:
        output = read_json(workspace.run(step["run_id"]).result)["output"]
        if step["step"].partition(".")[2].startswith("measure"):
            generating += generating_seconds(output)
        elif step["step"].endswith(".train"):
            training += float(output["train_seconds"])
    total = float(status["output"]["seconds"]["total"])
    share = 1.0 - (generating + training) / total
    document: dict[str, Any] = {
        "bench": "iterate",
        "run": run_id,
        "total_seconds": round(total, 1),
        "generating_seconds": round(generating, 1),
        "training_seconds": round(training, 1),
        "overhead_share": round(share, 4),
        "limit": LIMIT,
        "within_limit": share < LIMIT,
        "step_seconds": {step["step"]: step.get("seconds") for step in status["steps"]},
    }
    print(json.dumps(document))
    return 0


def generating_seconds(output: dict[str, Any]) -> float:
    """What a measurement's batches took. A run from before the second batch was timed says nothing of it, and has more overhead than it had."""
    effect = output["structured_effect"] or {}
    return float(output["summary"]["seconds"]) + float(effect.get("seconds", 0.0))


def newest(client: Client, workspace: Workspace) -> str:
    """The newest iterate run that succeeded."""
    for config in sorted(workspace.runs.glob("*/config.json"), key=lambda config: config.stat().st_mtime, reverse=True):
        run_id = config.parent.name
        if read_json(config)["kind"] == "iterate" and client.call(find_tool(TOOLS, "run_status"), {"run_id": run_id})["state"] == "succeeded":
            return run_id
    raise SystemExit("no finished iterate run here; run `make demo` first")


if __name__ == "__main__":
    sys.exit(main())
