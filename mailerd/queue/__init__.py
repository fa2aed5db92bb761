"""Everything that speaks Redis, and nothing else does: claims, the ledger, batches, dead letters."""
