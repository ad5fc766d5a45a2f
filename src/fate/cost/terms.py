"""Every cost term, once. Plain arithmetic, so the same function serves numbers and arrays.

The kernels' reference calls these on floats, the compiled kernels compile these very functions,
vectorised code calls them on arrays; the order of operations is what makes all three bit-equal.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", float, NDArray[np.float64])


def prefill_seconds(
    new: Number, cached: Number, fixed_s: Number, per_token_s: Number, per_depth_s: Number
) -> Number:
    """Return the seconds to compute `new` prompt tokens behind `cached` ones.

    Attention makes a token's cost grow with its depth; the mean depth is cached + new / 2.

    Args:
        new: tokens to compute, >= 0.
        cached: tokens already in the KV cache, >= 0.
        fixed_s: seconds per prompt.
        per_token_s: seconds per token.
        per_depth_s: seconds per token and token of depth.
    """
    return fixed_s + new * (per_token_s + per_depth_s * (cached + new / 2.0))


def decode_seconds(
    tokens: Number, depth: Number, fixed_s: Number, per_token_s: Number, per_depth_s: Number
) -> Number:
    """Return the seconds to generate `tokens` tokens behind `depth` prompt tokens.

    Args:
        tokens: tokens to generate, >= 0.
        depth: prompt tokens in the KV cache.
        fixed_s: seconds per answer.
        per_token_s: seconds per token.
        per_depth_s: seconds per token and token of depth.
    """
    return fixed_s + tokens * (per_token_s + per_depth_s * (depth + tokens / 2.0))
