"""A tool of our own for rag.yaml: which fact an answer was taken from."""

import re
from typing import Any


def words(text: str) -> set[str]:
    """Return the words of a text, short ones left out."""
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) > 3}


def nearest_in_words(text: str, facts: list[dict[str, Any]]) -> str:
    """Return the title of the fact that shares most words with a text."""
    best = max(facts, key=lambda fact: len(words(text) & words(fact["text"])))
    return best["title"]
