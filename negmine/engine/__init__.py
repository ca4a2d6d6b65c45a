"""Work over the parts of an artifact."""
