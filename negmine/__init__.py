"""negmine: offline hard-negative mining, from (query, positive) pairs to training sets."""

__version__ = "0.1.0"
