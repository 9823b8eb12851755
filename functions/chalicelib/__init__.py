"""The gateway: takes kubectl's requests over HTTPS and carries each through the contract on Sui."""
