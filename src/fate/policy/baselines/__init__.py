"""Rivals, one table row each; a file of its own for an algorithm of its own."""
