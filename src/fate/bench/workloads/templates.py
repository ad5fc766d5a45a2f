"""LLM workflows with the shapes and token numbers that were measured on the real ones.

Shapes and numbers of vote and reason are Halo's (mlsys-io/Halo_demo), those of mapreduce, debate,
reflection, chain and tree Helium's shipped profiles of Qwen3-8B (mlsys-io/helium_demo): mean and
standard deviation of prompts and answers. What follows from them: own text = prompt - static text
- outputs that are read. Helium runs one model; debaters and critics of different models are our
choice, so that residency matters. rag and metagpt are assumed throughout.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from fate.bench.workloads.draft import Draft
from fate.bench.workloads.lengths import Drawn, Length, Quantiles
from fate.domain.graph import ITEM

#: Adds the stages of one workflow.
Template: TypeAlias = Callable[[Draft], None]

#: Own text that is always there: the question's last line, a separator.
_LEAST_OWN = 16

#: Seconds of tools by class: quantiles 50, 95 and 99 % as SAGA (HPDC'26) calibrates them.
TOOL_SECONDS: dict[str, Quantiles] = {
    "code": Quantiles(((0.0, 0.02), (0.5, 0.18), (0.95, 2.4), (0.99, 28.0), (1.0, 60.0))),
    "file": Quantiles(((0.0, 0.005), (0.5, 0.045), (0.95, 0.32), (0.99, 1.2), (1.0, 3.0))),
    "web": Quantiles(((0.0, 0.1), (0.5, 0.85), (0.95, 4.5), (0.99, 45.0), (1.0, 90.0))),
    "database": Quantiles(((0.0, 0.015), (0.5, 0.12), (0.95, 0.89), (0.99, 3.5), (1.0, 7.0))),
}


@dataclass(frozen=True, slots=True)
class Role:
    """What kind of call a stage is.

    Attributes:
        key: of its static text, the same in all workflows.
        model: in the catalogue.
        static: tokens of the static text.
        prompt: tokens of the whole prompt.
        output: tokens of the answer.
    """

    key: str
    model: str
    static: int
    prompt: Length
    output: Drawn


def step(
    draft: Draft, name: str, role: Role, reads: Sequence[str] = (), *, continues: str = ""
) -> str:
    """Add a stage of a role; its own text fills up what the prompt measured."""
    known = sum([draft.expected(stage) for stage in reads])
    if continues:
        own = role.prompt.mean - known - draft.context(continues)
        texts = [draft.text(Length(max(own, _LEAST_OWN)))]
    else:
        own = max(role.prompt.mean - known - role.static, _LEAST_OWN)
        spread = Length(own, role.prompt.sd * own / role.prompt.mean)
        texts = [draft.text(Length(role.static), role.key), draft.text(spread)]
    return draft.call(name, role.model, texts, role.output, reads, continues=continues)


def vote(draft: Draft) -> None:
    """Four judges of two models read an article, a large model decides (Halo multi_voting_5m)."""
    models = ("llama-8b", "r1-8b", "llama-8b", "r1-8b")
    judges = [
        step(draft, f"judge{j}", Role(f"vote:judge{j}", model, 30, Length(730, 300), _answer(300)))
        for j, model in enumerate(models)
    ]
    final = Role("vote:final", "llama-70b-awq", 60, Length(1360), _answer(350))
    step(draft, "final", final, judges)


def reason(draft: Draft) -> None:
    """Four rounds on one question, small models first (Halo adv_reason_4m)."""
    rounds = ((150, 350, "llama-3b"), (530, 350, "llama-3b"), (930, 400, "llama-8b"))
    name = ""
    for k, (prompt, output, model) in enumerate((*rounds, (1380, 400, "llama-8b"))):
        role = Role(f"reason:{k}", model, 30, Length(prompt, 0.3 * prompt), _answer(output, 1024))
        name = step(draft, f"round{k}", role, [name] if name else [])


def mapreduce(draft: Draft) -> None:
    """Fourteen experts answer, one model sums up (Helium MapRed, MMLU)."""
    expert = Role("mapreduce:expert", "llama-8b", 60, Length(165, 120), Length(294, 112, 512))
    experts = [step(draft, f"expert{j}", expert) for j in range(14)]
    total = Role("mapreduce:sum", "qwen3-14b", 60, Length(4380), Length(168, 68, 512))
    step(draft, "sum", total, experts)


def debate(draft: Draft, rounds: int = 2) -> None:
    """Three models answer, then answer again having read each other (Helium Debate, MMLU)."""
    models = ("llama-8b", "r1-8b", "qwen3-8b")
    first = Length(298, 115, 512)
    last = [
        step(draft, f"agent{j}-0", Role("debate:agent", model, 60, Length(156, 120), first))
        for j, model in enumerate(models)
    ]
    again = Length(360, 114, 512)
    for k in range(1, rounds):
        last = [
            step(
                draft,
                f"agent{j}-{k}",
                Role("debate:agent", model, 60, Length(1129 + 1113 * (k - 1)), again),
                [other for i, other in enumerate(last) if i != j],
                continues=last[j],
            )
            for j, model in enumerate(models)
        ]


def reflection(draft: Draft, questions: int = 6) -> None:
    """An expert, two critics and a final answer to each question (Helium Reflect, TATQA)."""
    expert = Role("reflect:expert", "llama-8b", 200, Length(728, 400), Length(120, 44, 512))
    first = Role("reflect:critic", "qwen3-14b", 200, Length(766), Length(258, 100, 512))
    second = Role("reflect:critic", "qwen3-14b", 200, Length(1035), Length(511, 8, 512))
    final = Role("reflect:final", "llama-8b", 200, Length(1662), Length(139, 47, 512))
    for q in range(questions):
        done = [step(draft, f"q{q}-expert", expert)]
        done.append(step(draft, f"q{q}-critic0", first, done))
        done.append(step(draft, f"q{q}-critic1", second, done))
        step(draft, f"q{q}-final", final, done)


def chain(draft: Draft) -> None:
    """A summary revised chunk by chunk (Helium Iterative, arXiv)."""
    numbers = (1633, 362), (2180, 428), (2278, 454), (2241, 480), (2324, 468), (2504, 457)
    name = ""
    for k, (prompt, output) in enumerate(numbers):
        role = Role("chain:writer", "llama-8b", 200, Length(prompt, 400), Length(output, 60, 512))
        name = step(draft, f"part{k}", role, [name] if name else [])


def tree(draft: Draft) -> None:
    """Seven experts read six chunks each and sum up, a writer joins (Helium Parallel, Amazon)."""
    sums: list[str] = []
    for e in range(7):
        reader = Role(f"tree:expert{e}", "llama-8b", 150, Length(1544, 312), Length(435, 41, 512))
        notes = [step(draft, f"expert{e}-chunk{c}", reader) for c in range(6)]
        total = Role(f"tree:sum{e}", "llama-8b", 150, Length(3367), Length(512))
        sums.append(step(draft, f"expert{e}-sum", total, notes))
    step(draft, "writer", Role("tree:writer", "llama-8b", 150, Length(4458), Length(512)), sums)


def rag(draft: Draft) -> None:
    """Embed, search, rerank twenty passages, answer; lengths are assumed."""
    question = draft.text(Length(60, 30))
    vector = draft.call("embed", "embed-0.3b", [question, draft.text(Length(452))], Length(0, 0, 0))
    searching = Quantiles(((0.0, 0.02), (1.0, 0.2)))
    seconds = searching.mean, searching.draw_value(draft.generator)
    found = draft.tool("search", seconds, [vector], Length(3500, 600))
    passage = draft.text(Length(200), f"{ITEM}{draft.workflow}/rerank")
    static = draft.text(Length(80), "rag:rerank")
    draft.call("rerank", "qwen3-0.6b", [static, question, passage], Length(2, 0, 2))
    draft.after("rerank", [found])
    draft.items("rerank", 20)
    system = draft.text(Length(300), "rag:answer")
    draft.call("answer", "llama-8b", [system, question], Length(250, 120, 512), [found])
    draft.after("answer", ["rerank"])


def code_agent(draft: Draft, turns: int = 30) -> None:
    """A model and its tools take turns in one context (mini-swe-agent's sessions, LMCache).

    A tool's output is 28 tokens in the middle and 920 at 90 %, an answer 98 and 191. How many
    turns there are is known.
    """
    model = draft.generator.choice(("qwen3-14b", "qwen3-32b-awq"))
    output = Quantiles(((0.0, 20), (0.5, 98), (0.9, 191), (1.0, 512)))
    brings = Quantiles(((0.0, 8), (0.5, 28), (0.9, 920), (1.0, 3000)))
    texts = [draft.text(Length(1600), "agent:system"), draft.text(Length(2200, 1500))]
    think = draft.call("think0", model, texts, output)
    tool = TOOL_SECONDS["code"]
    for turn in range(1, turns):
        seconds = tool.mean, tool.draw_value(draft.generator)
        act = draft.tool(f"act{turn}", seconds, [think], brings)
        think = draft.call(f"think{turn}", model, [], output, [act], continues=think)


def metagpt(draft: Draft) -> None:
    """Manager, architect, engineer and tester with long role prompts; lengths are assumed."""
    roles = (
        ("manager", "llama-8b", 500, 600),
        ("architect", "qwen3-14b", 900, 800),
        ("engineer", "qwen3-32b-awq", 1500, 1500),
        ("tester", "llama-8b", 700, 500),
    )
    done: list[str] = []
    for name, model, static, output in roles:
        texts = [draft.text(Length(static), f"metagpt:{name}"), draft.text(Length(150, 75))]
        done.append(draft.call(name, model, texts, Length(output, 0.3 * output, 2048), done))


def _answer(mean: float, most: int = 512) -> Length:
    """Return the length of an answer of which only the mean is known: a third of it as sd."""
    return Length(mean, mean / 3.0, most)
