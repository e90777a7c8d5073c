"""Runbooks: what to do about each known failure, as documents that people read and that are carried out as they stand.

    types.py       a runbook as a record
    parsing.py     a Markdown file into that record
    templates.py   arguments with `${...}`, filled from inputs and earlier results
    conditions.py  what a result has to hold
    catalogue.py   all runbooks, and which of them covers a code or a class
    execution.py   carrying one out, or saying what that would be
"""
