"""Sui's JSON-RPC over WebSocket as far as readers of events use it; fullnodes served it until mid-2026.

Real
    The methods' names, parameters and JSON; the `bcs` field in base64; cursors by transaction digest and
    event number; pages of at most 50; the error codes.

Simulated
    The order of the index is the chain's; on a fullnode it is that of its own execution.
    An event is pushed when its checkpoint is made; a fullnode pushes it when it executes the transaction.
    A transaction counts as indexed once its checkpoint is shown; ``index_lag`` delays that.

Not there
    Every other method (``-32601``), HTTP, batches, the filters ``TimeRange`` and ``Any``.
"""
