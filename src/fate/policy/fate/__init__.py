"""The paper's policy: candidates, horizon, shards, local search, CP-SAT."""
