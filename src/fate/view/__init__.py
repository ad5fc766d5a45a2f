"""Shows: metrics, progress, timeline, explanations; one definition of every figure."""
