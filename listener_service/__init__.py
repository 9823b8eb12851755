"""The listener: runs at a Kubernetes API server what the contract has accepted."""

__version__ = "0.1.0"
