"""State that survives: the journal of accepted commands, the database one queries, artefacts by hash, lineage and events.

The only package that imports duckdb. Read `store.py` first.
"""
