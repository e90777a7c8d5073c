"""How hard the fault tests try. `make test` takes a few dozen faults; a longer run asks for more, and another seed for another course."""

from __future__ import annotations

import os

SEED = int(os.environ.get("MODELSMITH_CHAOS_SEED", "1"))
KILLS = int(os.environ.get("MODELSMITH_CHAOS_KILLS", "40"))
"""Owners killed."""
IMAGES = int(os.environ.get("MODELSMITH_CHAOS_IMAGES", "40"))
"""Disks that a power cut left."""
DAMAGES = int(os.environ.get("MODELSMITH_CHAOS_DAMAGES", "1"))
"""Damaged files of each kind."""
INJECTIONS = int(os.environ.get("MODELSMITH_CHAOS_INJECTIONS", "2"))
"""Failing system calls of each kind."""
