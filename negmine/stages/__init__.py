"""The five stages, and ``write`` beside them: each one function over (parameters, artifacts)."""
