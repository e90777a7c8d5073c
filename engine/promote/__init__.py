"""From an accepted version to the one that answers: states, gates, approvals, evidence, package, rollback."""
