"""Threads: the executor, the worker that runs the model, and the mailbox between them."""
