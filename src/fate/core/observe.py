"""What finished work teaches the estimator: engine-measured seconds of loads and of items."""

from fate.core.chain import HOST, Chain
from fate.cost.estimates import Estimator
from fate.domain.catalog import Cluster
from fate.domain.messages import ItemDone


def observe_item(cluster: Cluster, estimator: Estimator, chain: Chain, event: ItemDone) -> None:
    """Learn from a finished item what the device's prefill and decode really take."""
    if chain.device == HOST:
        return
    device, model = cluster.devices[chain.device].id, chain.steps[0].model
    new = event.prompt_tokens - event.cached_tokens
    if event.prefill_s > 0 and new > 0:
        estimator.observe_prefill(
            device, model, new, event.cached_tokens, event.prefill_s,
            concurrency=chain.concurrency,
        )  # fmt: skip
    if event.decode_s > 0 and event.output_tokens > 0:
        estimator.observe_decode(
            device, model, event.output_tokens, event.prompt_tokens, event.decode_s,
            concurrency=chain.concurrency,
        )  # fmt: skip


def observe_step(cluster: Cluster, estimator: Estimator, chain: Chain, seconds: float) -> None:
    """Learn from a finished load or unload."""
    step = chain.steps[0]
    if chain.device == HOST or seconds <= 0:
        return
    device = cluster.devices[chain.device].id
    if step.kind == "load":
        estimator.observe_load(device, step.model, seconds)
    elif step.kind == "unload":
        estimator.observe_unload(device, step.model, seconds)
