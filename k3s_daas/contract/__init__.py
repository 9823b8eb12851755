"""The Move contract as Python sees it: its calls, events, objects, addresses and aborts."""
