"""FATE: future-state-aware scheduling of heterogeneous LLM workflows."""

__version__ = "0.1.0"
