"""Everything that speaks to Sui: the Ledger port, its gRPC adapter, transactions and signatures."""
