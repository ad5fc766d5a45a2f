"""What comes of a call to an OpenAI-compatible server, taken in piece by piece."""

from dataclasses import dataclass, field
from typing import Any

from fate.engines.base import CallRequest, CallResult, EngineError

#: What taking in an answer raises that is not as the API says.
STRANGE = (
    ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip
#: Characters per token, where a server does not count.
_CHARACTERS_PER_TOKEN = 4
#: No prompt and no answer is longer than this.
_MOST_TOKENS = 1 << 31
#: Characters of what a server says that are worth repeating.
_SAID = 200


@dataclass(slots=True)
class Answer:
    """What has come of an answer so far. `first_s` is when its first token came."""

    text: list[str] = field(default_factory=list[str])
    usage: dict[str, Any] = field(default_factory=dict[str, Any])
    finish: str = ""
    error: str = ""
    choices: bool = False
    first_s: float = 0.0

    def add(self, event: dict[str, Any], at_s: float) -> None:
        """Take in one event of a stream, or a whole answer.

        Raises:
            one of `STRANGE`: it is not what the API says.
        """
        if event.get("error"):
            self.error = one_line(event["error"])
        self.usage = event.get("usage") or self.usage
        for choice in event.get("choices") or ():
            self.choices = True
            piece = choice.get("delta") or choice.get("message") or choice
            text = piece.get("content") or piece.get("text") or ""
            if not isinstance(text, str):
                raise TypeError(f"a text of type {type(text).__name__}")
            if text:
                self.text.append(text)
                self.first_s = self.first_s or at_s
            self.finish = choice.get("finish_reason") or self.finish
        for name in ("prompt_tokens", "completion_tokens"):
            counted(self.usage, name)
        counted(self.usage.get("prompt_tokens_details") or {}, "cached_tokens")

    def checked(self, where: str) -> "Answer":
        """Return the answer if it is one, and whole.

        Raises:
            EngineError: it is not; `where` says who gave it.
        """
        if self.error:
            raise EngineError(f"{where}: {self.error}")
        if not self.choices:
            raise EngineError(f"{where}: the answer has no choices")
        if not self.finish:
            raise EngineError(f"{where}: the answer stops before its end")
        return self

    def result(self, request: CallRequest, seconds: float) -> CallResult:
        """Return the finished call; what the server did not count is estimated."""
        text = "".join(self.text)
        prompt = estimated_tokens(sum(len(part.text) for part in request.parts))
        output = len(self.text) if len(self.text) > 1 else estimated_tokens(len(text))
        prefill_s = self.first_s or seconds
        return CallResult(
            text=text,
            prompt_tokens=counted(self.usage, "prompt_tokens") or prompt,
            cached_tokens=counted(self.usage.get("prompt_tokens_details") or {}, "cached_tokens"),
            output_tokens=counted(self.usage, "completion_tokens") or output,
            prefill_s=prefill_s,
            decode_s=max(seconds - prefill_s, 0.0),
            finish="length" if self.finish == "length" else "stop",
        )


def counted(usage: dict[str, Any], name: str) -> int:
    """Return a count that a server reports, 0 where it does not; one of `STRANGE` for no number."""
    count = int(usage.get(name) or 0)
    if count > _MOST_TOKENS:
        raise ValueError(f"{name} beyond {_MOST_TOKENS}")
    return count


def estimated_tokens(characters: int) -> int:
    """Return how many tokens a text of so many characters may have."""
    return characters // _CHARACTERS_PER_TOKEN + 1


def one_line(said: object) -> str:
    """Return what a server or a library says, short enough to be repeated."""
    return " ".join(str(said).split())[:_SAID]
