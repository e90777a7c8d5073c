"""What to do about failures: runbooks for those that are known."""
