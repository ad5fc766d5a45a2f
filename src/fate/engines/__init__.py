"""Engines do the work: they load weights and answer calls."""
