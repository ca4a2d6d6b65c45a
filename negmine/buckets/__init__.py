"""Object stores behind addresses: transport (one request), mirror (what lies there and here)."""
