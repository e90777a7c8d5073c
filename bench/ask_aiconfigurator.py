"""Asks aiconfigurator, in an interpreter that has it (its dependencies are not this project's): questions in, answers out, one JSON a line.

    echo '{"model_path": "Qwen/Qwen3-32B", "system_name": "h200_sxm", "backend_name": "vllm", "tp_size": 4}' | PYTHON bench/ask_aiconfigurator.py

Answers have `tpot_ms` and `ttft_ms`, or `refused` with its words. All that a question does not name is at its defaults.
"""

from __future__ import annotations

import json
import logging
import sys


def main() -> int:
    """Until there are no more questions."""
    logging.disable(logging.ERROR)
    from aiconfigurator.cli.api import cli_estimate  # type: ignore[import-not-found]

    for line in sys.stdin:
        try:
            found = cli_estimate(**json.loads(line))
            answer = {"tpot_ms": found.tpot, "ttft_ms": found.ttft}
        except Exception as error:  # whatever it says no with is its answer
            answer = {"refused": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
