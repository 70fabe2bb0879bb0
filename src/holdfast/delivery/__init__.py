"""Delivery: from the journal to the tracking store, in a process of its own or where a caller waits for it."""
