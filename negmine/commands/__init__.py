"""Commands that look at what stages made, or prepare a run."""
