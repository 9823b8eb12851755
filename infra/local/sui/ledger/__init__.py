"""The state machine: objects, transactions, gas, effects, checkpoints and time. No transport."""
