"""Every error that the engine raises on purpose, as one tree.

    ModelsmithError                 what happened, with values, and the next useful act
      BadInput                      the caller can mend it                        exit 2
        ConfigInvalid               config_invalid       clusters.json or a model profile
        DomainInvalid               domain_invalid       domain.yaml, its templates or its rows
        NotFound                    not_found            a cluster, run, version, evaluation, file that is not there
        PathRefused                 path_refused         a path that leaves the workspace, a symlink, a bad name
        TooLarge                    too_large            a scenario, request or file over its limit
        DuplicateId                 duplicate_id         two rows, scenarios or entries with one id
        ArgumentInvalid             argument_invalid     a tool argument of the wrong type or range
        IdentityMismatch            identity_mismatch    two scores that were not made the same way, so not comparable
        SignatureRefused            signature_refused    a signature that does not approve what it was handed in for
        EvidenceRefused             evidence_refused     an evidence bundle that was altered, is incomplete, or is signed by another key
        PackageRefused              package_refused      likewise the package of a version
      Conflict                      the state does not allow it now               exit 2
        RunActive                   run_active           one active run per cluster
        KeyReused                   key_reused           an idempotency key that came back with other arguments
        StaleEpoch                  stale_epoch          a worker that lost its claim
        StateConflict               state_conflict       a compare-and-set that found another state
        StoreOwned                  store_owned          another process owns this workspace's store
        NothingToLearn              nothing_to_learn     rewards without spread, or no failed answers: SFT first
        ApprovalNeeded              approval_needed      a person has to decide this; an agent may not
        RequestSpent                request_spent        a promotion request that was used, replaced or has expired
      Integrity                     something is not what it claims to be         exit 3
        LeakageFound                leakage_found        a training row that is, or nearly is, an evaluation item; a version that was taught some
        FingerprintMismatch         fingerprint_mismatch the weights that answer are not the ones asked for
        ArtifactCorrupt             artifact_corrupt     bytes that do not have the recorded hash
        StoreDamaged                store_damaged        a journal broken in the middle, a store of a newer version
        ApproversInvalid            approvers_invalid    an approver list whose chain or signatures do not hold
        ApprovalAltered             approval_altered     a stored approval that does not verify again as it stands
        VerdictDiffers              verdict_differs      stored results that do not give the recorded verdict
        SigningKeyUnsafe            signing_key_unsafe   the workspace's signing key is gone, damaged, or open to others
      Infrastructure                the machine or a service failed; says nothing about a model     exit 3
        DaemonUnavailable           daemon_unavailable   no daemon answers and none could be started
        ServerFailed                server_failed        a model server that does not start, died or hangs
        GenerationFailed            generation_failed    an endpoint that refuses, times out or answers nonsense
        WorkerLost                  worker_lost          a worker process that ended without a result
        WorkerCrashed               worker_crashed       an exception in a worker that nobody foresaw
        StoreFailed                 store_failed         a write whose outcome is unknown; the owner of the store must exit
        ResourceExhausted           resource_exhausted   out of memory or disk
        RegistryFailed              registry_failed      a model registry elsewhere that refuses a package
        DependencyMissing           dependency_missing   a package or file that set-up should have brought
        RemediesExhausted           remedies_exhausted   a failure that comes back however often the same remedy is applied
        TrainingDiverged            training_diverged    a loss that is NaN or infinite
        TrainingCollapsed           training_collapsed   a watchdog's finding before any checkpoint was worth keeping

To add one: give it a code that no other class has, put it under the branch whose exit code fits, and add it to this drawing (a test
compares the drawing with the classes). The message says what happened with the values in it; `next_step` says what to do. Neither
knows HTTP, MCP or the terminal.
"""

from __future__ import annotations

from typing import Any, ClassVar


class ModelsmithError(Exception):
    """An error that a person or an agent can act on.

    `message` says what happened, with values; `next_step` the next useful act; `details` holds the same as data, small enough to print.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, *, next_step: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.details = details

    def as_record(self) -> dict[str, Any]:
        """The error as the JSON object that every surface shows: code, message, next_step, details."""
        return {"code": self.code, "message": self.message, "next_step": self.next_step, "details": self.details}


class BadInput(ModelsmithError):
    """The caller asked for something that cannot be; nothing was changed."""

    code = "bad_input"
    exit_code = 2


class ConfigInvalid(BadInput):
    code = "config_invalid"


class DomainInvalid(BadInput):
    code = "domain_invalid"


class NotFound(BadInput):
    code = "not_found"


class PathRefused(BadInput):
    code = "path_refused"


class TooLarge(BadInput):
    code = "too_large"


class DuplicateId(BadInput):
    code = "duplicate_id"


class ArgumentInvalid(BadInput):
    code = "argument_invalid"


class IdentityMismatch(BadInput):
    code = "identity_mismatch"


class SignatureRefused(BadInput):
    code = "signature_refused"


class EvidenceRefused(BadInput):
    code = "evidence_refused"


class PackageRefused(BadInput):
    code = "package_refused"


class Conflict(ModelsmithError):
    """The request is well formed, but the state does not allow it now."""

    code = "conflict"
    exit_code = 2


class RunActive(Conflict):
    code = "run_active"


class KeyReused(Conflict):
    code = "key_reused"


class StaleEpoch(Conflict):
    code = "stale_epoch"


class StateConflict(Conflict):
    code = "state_conflict"


class StoreOwned(Conflict):
    code = "store_owned"


class NothingToLearn(Conflict):
    code = "nothing_to_learn"


class ApprovalNeeded(Conflict):
    code = "approval_needed"


class RequestSpent(Conflict):
    code = "request_spent"


class Integrity(ModelsmithError):
    """Something is not what it claims to be; no result may be built on it."""

    code = "integrity"
    exit_code = 3


class LeakageFound(Integrity):
    code = "leakage_found"


class FingerprintMismatch(Integrity):
    code = "fingerprint_mismatch"


class ArtifactCorrupt(Integrity):
    code = "artifact_corrupt"


class StoreDamaged(Integrity):
    code = "store_damaged"


class ApproversInvalid(Integrity):
    code = "approvers_invalid"


class ApprovalAltered(Integrity):
    code = "approval_altered"


class VerdictDiffers(Integrity):
    code = "verdict_differs"


class SigningKeyUnsafe(Integrity):
    code = "signing_key_unsafe"


class Infrastructure(ModelsmithError):
    """The machine or a service failed. Never a statement about a model."""

    code = "infrastructure"
    exit_code = 3


class DaemonUnavailable(Infrastructure):
    code = "daemon_unavailable"


class ServerFailed(Infrastructure):
    code = "server_failed"


class GenerationFailed(Infrastructure):
    code = "generation_failed"


class WorkerLost(Infrastructure):
    code = "worker_lost"


class WorkerCrashed(Infrastructure):
    code = "worker_crashed"


class StoreFailed(Infrastructure):
    code = "store_failed"


class ResourceExhausted(Infrastructure):
    code = "resource_exhausted"


class RegistryFailed(Infrastructure):
    code = "registry_failed"


class DependencyMissing(Infrastructure):
    code = "dependency_missing"


class RemediesExhausted(Infrastructure):
    code = "remedies_exhausted"


class TrainingDiverged(Infrastructure):
    code = "training_diverged"


class TrainingCollapsed(Infrastructure):
    code = "training_collapsed"


def error_classes() -> dict[str, type[ModelsmithError]]:
    """Every error class by its code, found by walking the tree."""
    found: dict[str, type[ModelsmithError]] = {}
    queue: list[type[ModelsmithError]] = [ModelsmithError]
    while queue:
        cls = queue.pop()
        found[cls.code] = cls
        queue.extend(cls.__subclasses__())
    return found


def error_from_record(record: dict[str, Any]) -> ModelsmithError:
    """The exception that `as_record` described; an unknown code becomes a plain ModelsmithError."""
    cls = error_classes().get(str(record.get("code")), ModelsmithError)
    return cls(str(record.get("message", "")), next_step=str(record.get("next_step", "")), **dict(record.get("details") or {}))
