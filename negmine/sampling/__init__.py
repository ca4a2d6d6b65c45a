"""Who of the survivors is taken, counts how much, and sits with whom."""
