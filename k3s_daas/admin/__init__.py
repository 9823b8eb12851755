"""What an operator does to the contract: publish, set up a cluster, change it, look at it."""
