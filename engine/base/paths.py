"""Where everything lies. Every path of the project comes from here.

    WORKSPACE/
      clusters.json
      atlas.json                            models and accelerators of one's own, if any
      domains/<name>/domain.yaml            configuration and data of one domain
      escalations/<id>/                     one folder an escalation, written from the store (`engine/escalate/folder.py`)
      .modelsmith/                          state: outside git, owned by the daemon
        owner.lock                          elects the daemon (flock)
        daemon.json  daemon.log             where the daemon listens, its token (mode 0600), what it said
        journal.jsonl                       accepted commands, hash-chained
        state.duckdb                        the state one queries, rebuildable from the journal
        artifacts/<aa>/<sha256>             content by hash: a file, or a directory with its manifest
        runs/<run id>/                      one directory a run
          config.json                       resolved; all that a worker reads
          progress.jsonl                    the worker's spool
          result.json                       written last
          worker.log                        stdout and stderr
          work/                             the worker's own files (checkpoints, half-made outputs)
          outputs/                          what result.json refers to
        models/<name>-<digest>/             prepared base models
        domains/<digest>/                   compiled domains: suite and training pool
        answers/<identity>.jsonl            answers by the content of what made them
        servers/<key>/                      model servers: server.json, server.log, lock
        keys/evidence  keys/evidence.pub    what signs evidence bundles (private, mode 0600), and what verifies them
        bundles/                            evidence bundles while they are put together
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from engine.base.ids import check_identifier

RUNBOOKS = Path(__file__).resolve().parents[2] / "runbooks"
"""The runbooks that ship with these sources."""


class RunPaths(NamedTuple):
    """The files of one run directory."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.json"

    @property
    def progress(self) -> Path:
        return self.root / "progress.jsonl"

    @property
    def result(self) -> Path:
        return self.root / "result.json"

    @property
    def log(self) -> Path:
        return self.root / "worker.log"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def outputs(self) -> Path:
        return self.root / "outputs"


class Workspace(NamedTuple):
    """The folder with clusters.json, and the state beneath it."""

    root: Path

    @property
    def clusters_file(self) -> Path:
        return self.root / "clusters.json"

    @property
    def atlas_file(self) -> Path:
        return self.root / "atlas.json"

    @property
    def domains(self) -> Path:
        return self.root / "domains"

    @property
    def escalations(self) -> Path:
        return self.root / "escalations"

    @property
    def state(self) -> Path:
        return self.root / ".modelsmith"

    @property
    def owner_lock(self) -> Path:
        return self.state / "owner.lock"

    @property
    def daemon_file(self) -> Path:
        return self.state / "daemon.json"

    @property
    def daemon_log(self) -> Path:
        return self.state / "daemon.log"

    @property
    def journal(self) -> Path:
        return self.state / "journal.jsonl"

    @property
    def database(self) -> Path:
        return self.state / "state.duckdb"

    @property
    def artifacts(self) -> Path:
        return self.state / "artifacts"

    @property
    def runs(self) -> Path:
        return self.state / "runs"

    @property
    def models(self) -> Path:
        return self.state / "models"

    @property
    def compiled_domains(self) -> Path:
        return self.state / "domains"

    @property
    def answers(self) -> Path:
        return self.state / "answers"

    @property
    def servers(self) -> Path:
        return self.state / "servers"

    @property
    def evidence_key(self) -> Path:
        return self.state / "keys" / "evidence"

    @property
    def evidence_public_key(self) -> Path:
        return self.state / "keys" / "evidence.pub"

    @property
    def bundles(self) -> Path:
        return self.state / "bundles"

    def run(self, run_id: str) -> RunPaths:
        """The directory of one run. A name that is not an identifier raises PathRefused."""
        return RunPaths(self.runs / check_identifier(run_id, "run id"))

    def domain(self, name: str) -> Path:
        """The folder of one domain. A name that is not an identifier raises PathRefused."""
        return self.domains / check_identifier(name, "domain name")

    def escalation(self, name: str) -> Path:
        """The folder of one escalation. A name that is not an identifier raises PathRefused."""
        return self.escalations / check_identifier(name, "escalation id")
