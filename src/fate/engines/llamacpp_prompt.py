"""From prompt parts to token ids, part by part, so that equal parts give equal tokens.

Text is never joined before it is tokenised: a cut in the middle of a word would give other tokens
than the parts alone, and the cached prefix would end there. The chat template is rendered once per
sequence of roles around markers, and its pieces are tokenised like parts.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from fate.engines.base import EngineError, PromptPart, Role

#: Posts a JSON body to a path of the model's server and returns the answer.
Post = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
Tokens = tuple[int, ...]

#: Between the texts of two roles where a model has no template for roles.
ROLE_GAP = "\n\n"
#: Texts remembered per tokenizer; the oldest goes first.
REMEMBERED_TEXTS = 4096


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """Token ids of a prompt, and how many of them each part accounts for."""

    tokens: list[int]
    part_tokens: tuple[int, ...]


class TokenCache:
    """Token ids by text, shared by all models with the same tokenizer."""

    def __init__(self) -> None:
        self._tokens: dict[tuple[str, str], Tokens] = {}

    def get(self, tokenizer: str, text: str) -> Tokens | None:
        """Return the tokens of a text if they are known."""
        return self._tokens.get((tokenizer, text))

    def put(self, tokenizer: str, text: str, tokens: Tokens) -> None:
        """Remember the tokens of a text."""
        if len(self._tokens) >= REMEMBERED_TEXTS:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[tokenizer, text] = tokens


#: One for all devices of this process: a state that moves between them must find its prompt cut as
#: it was where it came from. It only ever remembers, so sharing it changes no answer.
SHARED_TOKENS = TokenCache()


class PromptEncoder:
    """Encodes prompts for one loaded model."""

    def __init__(self, tokenizer: str, cache: TokenCache, *, has_template: bool) -> None:
        self._tokenizer, self._cache, self._has_template = tokenizer, cache, has_template
        self._pieces: dict[tuple[Role, ...], list[Tokens]] = {}
        self._raw_start: Tokens | None = None

    async def encode(
        self, parts: tuple[PromptPart, ...], post: Post, *, chat: bool
    ) -> EncodedPrompt:
        """Encode parts, inside the chat template unless `chat` is False.

        A template piece counts for the part behind it, the last one for the last part.
        """
        runs: list[tuple[Role, list[PromptPart]]] = [
            (role, list(run)) for role, run in groupby(parts, key=_role)
        ]
        if chat:
            pieces = await self._template([role for role, _ in runs], post)
        else:
            pieces = [await self._start(post), *[()] * len(runs)]
        tokens: list[int] = []
        counts: list[int] = []
        for piece, (_, run) in zip(pieces, runs, strict=False):
            pending = piece
            for part in run:
                ids = await self._text(part.text, post)
                tokens += [*pending, *ids]
                counts.append(len(pending) + len(ids))
                pending = ()
        tokens += pieces[-1]
        if counts:
            counts[-1] += len(pieces[-1])
        return EncodedPrompt(tokens, tuple(counts))

    def wrote(self, text: str, tokens: Tokens) -> None:
        """Remember the tokens a model wrote a text with, unless others are known already.

        They need not be those the tokenizer would cut it into, and it is they that lie in the KV
        cache, for whoever goes on from this answer.
        """
        if text and tokens and self._cache.get(self._tokenizer, text) is None:
            self._cache.put(self._tokenizer, text, tokens)

    async def _text(self, text: str, post: Post) -> Tokens:
        """Tokenise what users and models wrote; special tokens in it are plain text."""
        known = self._cache.get(self._tokenizer, text)
        if known is None:
            body = {"content": text, "add_special": False, "parse_special": False}
            known = tuple((await post("/tokenize", body))["tokens"])
            self._cache.put(self._tokenizer, text, known)
        return known

    async def _special(self, text: str, post: Post, *, first: bool) -> Tokens:
        """Tokenise a piece of the template, whose special tokens are meant."""
        body = {"content": text, "add_special": first, "parse_special": True}
        return tuple((await post("/tokenize", body))["tokens"])

    async def _start(self, post: Post) -> Tokens:
        """Return what the model wants before any text (often one token, or none)."""
        if self._raw_start is None:
            self._raw_start = await self._special("", post, first=True)
        return self._raw_start

    async def _template(self, roles: Sequence[Role], post: Post) -> list[Tokens]:
        """Return the token pieces before, between and after texts of these roles."""
        key = tuple(roles)
        if key not in self._pieces:
            texts = await self._rendered(roles, post) if self._has_template else None
            if texts is None and self._has_template and key != ("user",):
                texts = await self._rendered(("user",), post)
                if texts is not None:  # a template that knows no system role
                    texts = [texts[0], *[ROLE_GAP] * (len(roles) - 1), texts[-1]]
            if texts is None:
                texts = ["", *[ROLE_GAP] * (len(roles) - 1), ""]
            self._pieces[key] = [
                await self._special(text, post, first=i == 0) for i, text in enumerate(texts)
            ]
        return self._pieces[key]

    async def _rendered(self, roles: Sequence[Role], post: Post) -> list[str] | None:
        """Render the chat template around markers and cut it there; None if it refuses."""
        markers = [f"fateMarker{i}x" for i in range(len(roles))]
        messages = [
            {"role": role, "content": marker} for role, marker in zip(roles, markers, strict=True)
        ]
        try:
            rest = (await post("/apply-template", {"messages": messages}))["prompt"]
        except EngineError as error:
            if error.retryable:
                raise
            return None
        pieces: list[str] = []
        for marker in markers:
            before, found, rest = rest.partition(marker)
            if not found:
                return None
            pieces.append(before)
        return [*pieces, rest]


def _role(part: PromptPart) -> Role:
    """Return who speaks a part."""
    return part.role
