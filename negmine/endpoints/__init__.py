"""Models behind HTTP: requests, answers that are kept, keys, pace, budgets and batches."""
