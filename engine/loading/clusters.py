"""What is wrong in clusters.json beyond its shape: names that nothing has, and profiles that cannot work."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from engine.base.urls import url_problem
from engine.config import SIGNED_STATES, ClustersFile, Profile
from engine.loading.problems import Problem, names_in_words, show

BRANCHES = ("main", "master", "HEAD", "")


def cluster_problems(file: ClustersFile) -> Iterator[Problem]:
    """What is wrong in the whole file, in itself: whether the domains are there is asked of the workspace."""
    yield from _dangling_names(file)
    yield from _foreign_states(file)
    yield from _days_that_never_were(file)
    for name, profile in file.models.items():
        yield from profile_problems(name, profile)


def _dangling_names(file: ClustersFile) -> Iterator[Problem]:
    for name, cluster in file.clusters.items():
        where = f"clusters.{name}"
        if cluster.model not in file.models:
            yield Problem(f"{where}.model", show(cluster.model), f"a key of models ({names_in_words(file.models)})")
        if cluster.budget not in file.budgets:
            yield Problem(f"{where}.budget", show(cluster.budget), f"a key of budgets ({names_in_words(file.budgets)})")
        if not cluster.hosts:
            yield Problem(f"{where}.hosts", "an empty list", f"at least one key of hosts ({names_in_words(file.hosts)})")
        for number, host in enumerate(cluster.hosts):
            if host not in file.hosts:
                yield Problem(f"{where}.hosts[{number}]", show(host), f"a key of hosts ({names_in_words(file.hosts)})")


def _foreign_states(file: ClustersFile) -> Iterator[Problem]:
    """Signatures asked for a state that the cluster's chain does not have: whoever wrote that believes in a gate that is not there."""
    for name, cluster in file.clusters.items():
        signed = SIGNED_STATES[cluster.chain]
        for state in cluster.policy.signatures:
            if state not in signed:
                path = f"clusters.{name}.policy.signatures.{state}"
                yield Problem(path, "a state of another chain", f"one that people sign on the chain {cluster.chain} ({names_in_words(signed)})")


def _days_that_never_were(file: ClustersFile) -> Iterator[Problem]:
    for name, host in file.hosts.items():
        if host.hourly_price is not None and not _is_day(host.hourly_price.as_of):
            yield Problem(f"hosts.{name}.hourly_price.as_of", show(host.hourly_price.as_of), "a day of the calendar, such as 2026-11-21")


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def profile_problems(name: str, profile: Profile) -> Iterator[Problem]:
    """What is wrong in one model profile."""
    if profile.kind == "endpoint" and (problem := url_problem(profile.base_url)):
        expected = "an https:// URL up to and including /v1; the key belongs into the variable that api_key_env names"
        yield Problem(f"models.{name}.base_url", problem, expected)
    if profile.kind != "managed":
        return
    training, weights = profile.training, profile.weights
    if training.batch_size % training.micro_batch_size:
        path = f"models.{name}.training.micro_batch_size"
        yield Problem(path, str(training.micro_batch_size), f"a divisor of batch_size ({training.batch_size})")
    if weights.kind == "hub" and weights.revision in BRANCHES:
        yield Problem(f"models.{name}.weights.revision", show(weights.revision), "a commit hash or a tag: a branch moves under its name")
