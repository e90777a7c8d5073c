"""What a promotion is judged on: a signed, redacted bundle that anybody with the public key can check, and whose verdict they can find again."""
