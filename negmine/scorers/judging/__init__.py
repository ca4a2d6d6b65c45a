"""Language models that judge relevance: prompts, verdicts, and how well they judge."""
