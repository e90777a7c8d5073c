"""Runs: durable state machines, worker processes, and the supervisor that keeps the two in step."""
