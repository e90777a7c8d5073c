"""What the facade's operations do: one collaborator for each group of them, which `Engine` holds and delegates to.

A collaborator takes the parts that it works with, checks what a caller named against what is configured now, reads rows or submits a run, and
hands what it read to `engine/showing`. Deciding stays in the stages. A new group of operations is a module here, a line in Engine's
constructor, and a short method each.
"""
