"""What is learned from the whole table before parts are judged."""
