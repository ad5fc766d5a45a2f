"""How many devices may hold the chunks of one instance."""

import numpy as np

from fate.domain.snapshot import Snapshot


def shard_limit(snapshot: Snapshot, max_shards: int) -> int:
    """Return `max_shards` while devices are spare, else 1.

    Every further device pays the model's load, so a shard set widens only while there are more
    devices at the frontier's disposal than ready instances. At its disposal is a device that is
    idle or runs a chunk of a ready instance: it comes back to the same work. Running chunks count
    as members of their instance's set.
    """
    ready = np.unique(snapshot.instance[: snapshot.frontier])
    idle = (snapshot.free_at_s <= snapshot.now_s).any(axis=1)
    serving = np.isin(snapshot.running_instance, ready).any(axis=1)
    return max_shards if int((idle | serving).sum()) > len(ready) else 1
