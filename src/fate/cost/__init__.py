"""State-conditional costs: terms as functions, and estimates that learn."""
