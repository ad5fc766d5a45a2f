"""The nouns: frozen values, and the state with its transition rules."""
