"""Bytes at rest: objects, records, unfinished downloads and their index in one directory that may be killed at any moment."""
