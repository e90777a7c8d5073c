"""The leaf vocabulary: digests, ids, time, files, paths and processes. Imports nothing else of the project."""
