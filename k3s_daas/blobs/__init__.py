"""Bodies that are larger than a transaction: sealed, kept outside the chain, named by hash."""
