"""How each suite is reported: what a reader must know beside the figures."""

from fate.bench.suites import anytime, native, real_dag, variants
from fate.bench.suites.suite import Look
from fate.bench.workloads.regimes import REGIMES
from fate.bench.workloads.toys import CLUSTERS

_OVER = "makespan over round-robin's"
_MAKESPAN = "makespan_over_round-robin"
_TOYS = (
    "Toy clusters and models, one call at a time on each device: no figure here is a claim about "
    "any hardware. The mapping of tasks to calls is ours; the paper's is not public, so equal "
    "numbers would not mean an equal experiment. Ratios over round-robin flatter everything else; "
    "compare with the best baselines."
)
_GPUS = (
    "Figures of GPUs and models come from data sheets and published measurements, not from runs: "
    "calls slow each other down by a table, links carry one state at a time for free, and nothing "
    "fails."
)

LOOKS: dict[str, Look] = {
    "real-dag": Look(
        lead="WfCommons DAGs as LLM workflows on eight toy devices, each cell scaled until "
        "round-robin's busy time is divided as its regime says.",
        limits=_TOYS,
        notes={
            "headline": "Cluster mild, two workflows at once, four regimes; P95 from twelve at "
            "once. This group was chosen because its numbers resemble the paper's: it shows that "
            "they are plausible, not that they are reproduced.",
            "grid": "Every cell but those of the compute control.",
            "tokens": "The same DAGs with token counts, on the figures of real GPUs with slots: "
            "not to be compared with the paper's numbers.",
        },
        columns={
            **{name: f"regime {name}" for name in REGIMES},
            **{name: f"cluster {name}" for name in CLUSTERS},
        },
    ),
    "load": Look(
        lead="The cells of real-dag's headline with other numbers of workflows at once.",
        limits=_TOYS,
        shown=3,
        axis={float(load): f"W{load}" for load in real_dag.LOADS},
        axis_title="workflows at once",
    ),
    "llm-native": Look(
        lead="LLM workflows with the shapes and token numbers measured on real ones, on the "
        "figures of real GPUs and models.",
        limits=_GPUS,
        shown=2,
        notes={
            native.DRAWN: "Lengths of prompts and answers and seconds of tools are drawn; policies "
            "know their means.",
            native.KNOWN: "The same, and policies know every length and every tool.",
        },
    ),
    "prefix-reuse": Look(
        lead="The same DAGs whatever share of their prompts is common; caches that hold only a "
        "part of it.",
        limits=_GPUS,
        shown=1,
        axis=native.reuse_axis(),
        axis_title="share of prompts that is common",
        axis_metrics={
            _MAKESPAN: _OVER,
            "cached_share": "share of prompt tokens from the cache",
        },
    ),
    "trace": Look(
        lead="Windows of a trace: sessions arrive when they did, calls wait as they did.",
        limits=_GPUS
        + " Dependences inside a session are what its texts show, a lower bound of the real ones.",
        shown=2,
        notes={
            native.DRAWN: "Policies know the means of answers and of waits.",
            native.KNOWN: "The same, and policies know every answer and every wait.",
        },
    ),
    "noise": Look(
        lead="The headline's instances with estimates that are wrong: durations and answers drawn "
        "around them, all too low or too high, or each off by a factor of two; prompts that are no "
        "longer cached where they should be; edges that nobody declared.",
        limits=_TOYS,
        shown=len(variants.WRONG),
        columns={name: name for name in variants.WRONG},
        gantt=False,
    ),
    "arrivals": Look(
        lead="Workflows that arrive over time (Poisson), at a share of what late-EFT does with "
        "all of them there at once.",
        limits=_TOYS,
        shown=len(variants.SHARES),
        axis={share: variants.load_name(share) for share in variants.SHARES},
        axis_title="share of late-EFT's capacity",
        axis_metrics={"p95_over_round-robin": "P95 latency over round-robin's", _MAKESPAN: _OVER},
        gantt=False,
    ),
    "ablation": Look(
        lead="`fate` on the headline's instances with parts left out, and with other bounds.",
        limits=_TOYS,
        shown=1,
        columns={name: f"regime {name}" for name in REGIMES},
        gantt=False,
    ),
    "anytime": Look(
        lead="`foresight` on the headline's instances with shares of its default budgets; without "
        "any it carries out the best of the greedy plans that it starts from.",
        limits=_TOYS,
        shown=1,
        columns={name: f"regime {name}" for name in REGIMES},
        ladder=anytime.ladder(),
        ladder_title="share of the default budgets",
        gantt=False,
    ),
    "tune": Look(
        lead="Options of the baselines that have some, two workflows at once on every toy cluster.",
        limits=_TOYS,
        shown=1,
        gantt=False,
    ),
    "frontier": Look(
        lead="The headline's instances with other bounds on the ready calls that a policy sees.",
        limits=_TOYS,
        shown=0,
        axis={float(bound): f"F{bound}" for bound in variants.FRONTIERS},
        axis_title="ready calls in view",
        gantt=False,
    ),
}
