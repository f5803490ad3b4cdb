"""Doors into an agent: `jobs` is the unix socket of the jobs on this node."""
