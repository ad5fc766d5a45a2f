"""What a streamed answer of llama.cpp says."""

import asyncio
from typing import Any

from fate.engines.base import PromptPart
from fate.engines.llamacpp_prompt import PromptEncoder, TokenCache
from fate.engines.llamacpp_server import written_tokens


def part(text: str) -> PromptPart:
    """Return a part whose text is its key."""
    return PromptPart(key=text, text=text)


def test_written_tokens_are_those_of_the_text() -> None:
    """A piece without text is part of the next character; behind the text there is nothing."""
    assert written_tokens([" a", "", "é", ""], [[5], [6], [7], [1]]) == (5, 6, 7)
    assert written_tokens(["", ""], [[1], []]) == ()


def test_an_answer_is_not_cut_anew() -> None:
    """Its tokens are those it was written with, unless the text has been cut before."""
    asked: list[str] = []

    async def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Cut a text into letters."""
        asked.append(body["content"])
        return {"tokens": [ord(letter) for letter in body["content"]]}

    async def main() -> tuple[list[int], ...]:
        encoder = PromptEncoder("letters", TokenCache(), has_template=False)
        encoder.wrote("ab", (900,))
        first = await encoder.encode((part("ab"), part("c")), post, chat=False)
        encoder.wrote("c", (901,))
        second = await encoder.encode((part("c"),), post, chat=False)
        return first.tokens, second.tokens

    assert asyncio.run(main()) == ([900, ord("c")], [ord("c")])
    assert asked == ["", "c"]
