"""The worker's story (claim, deliver, settle) and the janitor's chores."""
