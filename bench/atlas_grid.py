"""A plan over the whole catalogue: every model on every accelerator in every quantisation at every load, on one core.

    python -m bench.atlas_grid

Prints the seconds of the fastest and of the median of ten grids, and those of the first, which reads the catalogue.
"""

from __future__ import annotations

import json
import os
import sys
import time
from statistics import median

MODELS, ACCELERATORS, QUANTISATIONS, LOADS = 60, 30, ("bf16", "fp8", "int8", "int4", "fp4"), (1, 2, 4, 8, 16, 32, 64, 128)
ROUNDS = 10


def main() -> int:
    """Measures on one core, whatever there are."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    started = time.perf_counter()
    from engine.atlas.calibration import calibration
    from engine.atlas.catalogue import catalogue
    from engine.atlas.grid import Asked, grid

    atlas, fitted = catalogue(), calibration()
    models, accelerators = list(atlas.models.values())[:MODELS], dict(list(atlas.accelerators.items())[:ACCELERATORS])
    seconds = []
    for _ in range(ROUNDS + 1):
        found = grid(models, accelerators, QUANTISATIONS, LOADS, Asked(), fitted)
        seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
    figures = {"first": seconds[0], "median": median(seconds[1:]), "fastest": min(seconds[1:])}
    shape = list(found.tpot.value.shape)
    rounded = {name: round(value, 4) for name, value in figures.items()}
    print(json.dumps({"bench": "atlas_grid", "shape": shape, "combinations": found.tpot.value.size, "seconds": rounded}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
