"""Servers that tests talk to: real HTTP on loopback, in a thread or as a process."""
