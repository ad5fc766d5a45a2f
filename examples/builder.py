"""The workflow of brief.yaml, built in Python: `python builder.py` prints the same as YAML."""

import sys

from fate.workflow.builder import ITEM, Ref, Workflow, dump_yaml
from fate.workflow.spec import MapSpec, WorkflowSpec

EDITOR = "You are a careful editor of short research briefs."

HEADLINE_SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "minLength": 3, "maxLength": 60},
        "keywords": {
            "type": "array",
            "items": {"type": "string", "minLength": 3, "maxLength": 20},
            "minItems": 2,
            "maxItems": 2,
        },
    },
    "required": ["title", "keywords"],
    "additionalProperties": False,
}


def brief() -> WorkflowSpec:
    """Return the research brief."""
    wf = Workflow(
        "brief",
        description="Notes, questions, a draft, reviews and a final brief about a document.",
    )
    document = wf.input(
        "document", kind="file", default="document.txt", description="the text to write about"
    )
    fast = wf.role("fast", "smollm2-135m-q4_0")
    medium = wf.role("medium", "smollm2-135m-q4_1")
    slow = wf.role("slow", "smollm2-135m-f16")

    paragraphs = wf.split("paragraphs", of=document, by="paragraph", size=1)
    notes = wf.llm(
        "notes",
        model=fast,
        map=MapSpec(over=str(paragraphs), items=7),
        system="You take short notes. Answer with one plain sentence.",
        prompt=f"""
            Paragraph:
            {ITEM}

            The most important fact in this paragraph is:
            """,
        max_tokens=32,
        expect_tokens=28,
    )
    notebook = wf.join("notebook", of=notes, separator="\n- ")

    def edit(name: str, model: str, text: str, max_tokens: int) -> Ref:
        return wf.llm(name, model=model, system=EDITOR, prompt=text, max_tokens=max_tokens)

    opening = f"Notes:\n- {notebook}\n\n"
    facts = wf.llm(
        "facts",
        model=medium,
        system=EDITOR,
        prompt=opening + "Give a title and two keywords as JSON.\n",
        max_tokens=60,
        expect_tokens=36,
        schema=HEADLINE_SCHEMA,
    )
    questions = edit(
        "questions", slow, opening + "Ask one question that these notes leave open.\n", 32
    )
    critique = edit("critique", fast, opening + "Name one weak point of these notes.\n", 32)
    draft = edit(
        "draft",
        slow,
        opening + f"An open question: {questions}\nA weak point: {critique}\n\n"
        "Write a short summary of the notes.\n",
        64,
    )
    review_facts = edit(
        "review_facts",
        medium,
        opening + f"Summary:\n{draft}\n\n"
        "Does the summary agree with the notes? Say why in one sentence.\n",
        32,
    )
    review_style = edit(
        "review_style",
        fast,
        f"Summary:\n{draft}\n\nSuggest one change that makes this summary easier to read.\n",
        32,
    )
    final = edit(
        "final",
        slow,
        f"Summary:\n{draft}\n\nReviews:\n1. {review_facts}\n2. {review_style}\n\n"
        "Write the final summary.\n",
        64,
    )
    headline = wf.llm(
        "headline",
        model=medium,
        prompt=f"{final}\n\nWrite a headline for this text.\n",
        max_tokens=24,
    )

    wf.output("title", facts["title"])
    wf.output("keywords", facts["keywords"])
    wf.output("headline", headline)
    wf.output("summary", final)
    wf.output("question", questions)
    return wf.to_spec()


if __name__ == "__main__":
    sys.stdout.write(dump_yaml(brief()))
