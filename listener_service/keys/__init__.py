"""The executor's keys: the one that signs, and the generations of the one that requests are sealed for.

Every replica is the same executor. What they share is the signing key (in KMS, or an encrypted file) and one
Secret with all generations, wrapped. Only the leader writes it.
"""
