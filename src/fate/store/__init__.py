"""Remembers: the journal of decisions and the outputs."""
