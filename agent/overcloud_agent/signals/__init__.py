"""Results on their way to Heat: the outbox, and one module a transport."""
