"""Workloads of the benchmark: real DAGs as LLM workflows, measured shapes, traces."""
