"""Approvals that an agent cannot make: what is signed, whose signature counts, and what each signature proves."""
