"""The policy of the paper (arXiv:2605.07238): see `policy` for how its parts fit together."""
