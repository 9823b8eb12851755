"""``daas up``: everything that production has, as separate processes on one machine."""
