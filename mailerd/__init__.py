"""mailerd: sends e-mail batches from a Redis queue, every contact exactly one mail."""
