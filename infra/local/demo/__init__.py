"""``make demo``: a scene with a real kubectl, the audit trail it leaves on chain, and three refusals."""
