"""Calls and results in the terms of llama.cpp's `/completion`."""

from typing import Any

from fate.domain.catalog import Model
from fate.engines.base import CallRequest, CallResult, EngineError
from fate.engines.llamacpp_prompt import EncodedPrompt

#: How answers with a schema are written: without this, white space may go on for ever.
COMPACT_JSON = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}

#: What llama.cpp calls the bytes and tokens of a slot it has saved or restored.
ACTION_FIELDS = {"save": ("n_written", "n_saved"), "restore": ("n_read", "n_restored")}


def check_fits(model: Model, encoded: EncodedPrompt, request: CallRequest) -> None:
    """Refuse a prompt the context cannot hold, with the counts."""
    prompt = len(encoded.tokens)
    need = prompt + (request.max_tokens if request.exact_tokens else not request.embed)
    if need > model.context_tokens:
        raise EngineError(
            f"{model.id!r}: the prompt has {prompt} tokens and the answer needs room for "
            f"{need - prompt}; the context is {model.context_tokens}. Shorten the prompt or "
            f"raise the model's context in the cluster file.",
            retryable=False,
        )
    if not prompt:
        raise EngineError(f"{model.id!r}: the prompt is empty", retryable=False)


def completion_body(request: CallRequest, encoded: EncodedPrompt, slot: int) -> dict[str, Any]:
    """Translate a call into llama.cpp's `/completion`."""
    body: dict[str, Any] = {
        "prompt": encoded.tokens,
        "id_slot": slot,
        "cache_prompt": True,
        "stream": True,
        "return_progress": True,
        "return_tokens": True,
        "n_predict": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed,
    }
    if request.exact_tokens:
        body["ignore_eos"] = True
    elif request.stop:
        body["stop"] = list(request.stop)
    if request.schema is not None:
        body["json_schema"] = {**request.schema, "x-guidance": COMPACT_JSON}
    return body


def embedding_result(answer: dict[str, Any], encoded: EncodedPrompt, seconds: float) -> CallResult:
    """Translate llama.cpp's answer to `/v1/embeddings`, which it does not time."""
    return CallResult(
        text="",
        prompt_tokens=len(encoded.tokens),
        cached_tokens=0,
        output_tokens=0,
        prefill_s=seconds,
        decode_s=0.0,
        part_tokens=encoded.part_tokens,
        vector=tuple([float(each) for each in answer["data"][0]["embedding"]]),
    )


def call_result(answer: dict[str, Any], encoded: EncodedPrompt, request: CallRequest) -> CallResult:
    """Translate llama.cpp's answer; a warm-up reports one generated token that there is not."""
    timings = answer["timings"]
    generated = request.max_tokens > 0
    return CallResult(
        text=answer["content"] if generated else "",
        prompt_tokens=len(encoded.tokens),
        cached_tokens=timings["cache_n"],
        output_tokens=timings["predicted_n"] if generated else 0,
        prefill_s=timings["prompt_ms"] / 1e3,
        decode_s=timings["predicted_ms"] / 1e3 if generated else 0.0,
        part_tokens=encoded.part_tokens,
        finish="length" if answer["stop_type"] == "limit" else "stop",
    )
