"""The five stages: each one function over (parameters, artifacts)."""
