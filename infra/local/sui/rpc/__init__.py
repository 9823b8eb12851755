"""Sui's gRPC v2 over a ledger: messages are pysui's, the transport is grpclib."""
