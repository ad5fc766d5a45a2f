"""The `foresight` policy: a rolling search over the whole visible DAG."""
