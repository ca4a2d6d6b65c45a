"""Finding, loading and running neural models: bi-encoders and cross-encoders."""
