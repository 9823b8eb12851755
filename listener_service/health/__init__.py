"""What a cluster asks a replica: does it live, may it be relied on, what has it done."""
