"""How many tokens a text has: exact where an engine has counted it, else learned from bytes."""

from typing import NamedTuple

import msgspec

#: Bytes of English text per token before anything is learned, and how many bytes that is worth.
_PRIOR_BYTES_PER_TOKEN = 4.2
_PRIOR_BYTES = 2000.0
#: Exact counts kept; the oldest go first.
_MAX_EXACT = 20_000


class _Seen(NamedTuple):
    size: float
    tokens: float


class TokenCounter:
    """Counts tokens per tokenizer. `dumps` and `loads` keep what was learned between runs."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._exact: dict[str, int] = {}

    def count(self, tokenizer: str, key: str, text: str) -> int:
        """Return the tokens of a text; `key` is its segment key."""
        exact = self.known(tokenizer, key)
        return self.estimate(tokenizer, len(text.encode())) if exact is None else exact

    def known(self, tokenizer: str, key: str) -> int | None:
        """Return what an engine has counted for a segment key, if one has."""
        return self._exact.get(f"{tokenizer}/{key}")

    def estimate(self, tokenizer: str, size: float) -> int:
        """Return the expected tokens of a text of `size` bytes; at least one unless empty."""
        if size <= 0:
            return 0
        return max(1, round(size / self.bytes_per_token(tokenizer)))

    def bytes_per_token(self, tokenizer: str) -> float:
        """Return the mean bytes of a token, as far as known."""
        size, tokens = self._seen.get(tokenizer, _Seen(0.0, 0.0))
        prior_tokens = _PRIOR_BYTES / _PRIOR_BYTES_PER_TOKEN
        return (_PRIOR_BYTES + size) / (prior_tokens + tokens)

    def learn(self, tokenizer: str, key: str, text: str, tokens: int) -> None:
        """Record an engine's count of a text's tokens."""
        name = f"{tokenizer}/{key}"
        if name in self._exact:
            return
        self._exact[name] = tokens
        if len(self._exact) > _MAX_EXACT:
            del self._exact[next(iter(self._exact))]
        if not text:
            return  # a mark of the chat template says nothing about bytes
        size, total = self._seen.get(tokenizer, _Seen(0.0, 0.0))
        self._seen[tokenizer] = _Seen(size + len(text.encode()), total + tokens)

    def dumps(self) -> bytes:
        """Return what was learned of each tokenizer as JSON; counts of single texts are not kept.

        Their number grows without bound, and the next run's engines count again.
        """
        return msgspec.json.encode(self._seen)

    @classmethod
    def loads(cls, data: bytes) -> "TokenCounter":
        """Return a counter that knows what `dumps` wrote."""
        counter = cls()
        counter._seen = msgspec.json.decode(data, type=dict[str, _Seen])
        return counter
