"""What is on disk: schemas, artifacts, the corpus, and the readers of users' files."""
