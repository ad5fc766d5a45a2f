"""The hot loops: a readable reference, the same compiled, and the choice between them."""
