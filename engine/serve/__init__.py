"""Answering for a cluster with the version that people brought into production."""
