"""What to do about failures: a runbook for each that is known, an escalation for what nobody foresaw, which closes when the failing case passes."""
