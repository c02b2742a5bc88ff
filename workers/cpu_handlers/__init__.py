"""Handlers that both queues may run; torch is imported only inside the functions that need it."""
