"""The workflow of brief.yaml, built in Python: `python builder.py` prints the same as YAML."""

import sys

from fate.workflow.builder import Workflow, dump_yaml
from fate.workflow.refs import ITEM, Ref
from fate.workflow.spec import MapSpec, WorkflowSpec

EDITOR = "You are a careful editor of short research briefs."

HEADLINE_SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "minLength": 3, "maxLength": 60},
        "keywords": {
            "type": "array",
            "items": {"type": "string", "pattern": "^[a-z]{4,14}$"},
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
        system="You are a helpful assistant.",
        prompt=f"""
            {ITEM}

            What is the main point of this text? Answer in one short sentence.
            """,
        max_tokens=40,
        stop=["\n"],
        temperature=0.4,
        expect_tokens=32,
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
        "questions",
        slow,
        opening + "What would a curious reader like to know about this? Write one question.\n",
        32,
    )
    surprise = edit(
        "surprise",
        fast,
        opening + "Which fact in these notes is the most surprising, and why?\n",
        32,
    )
    draft = edit(
        "draft",
        slow,
        opening + f"A question: {questions}\nThe most surprising fact: {surprise}\n\n"
        "Tell the story of these notes in three sentences.\n",
        64,
    )
    review_facts = edit(
        "review_facts",
        medium,
        opening + f"Summary:\n{draft}\n\n"
        "Name one fact from the notes that the summary leaves out.\n",
        32,
    )
    review_style = edit(
        "review_style",
        fast,
        f"Summary:\n{draft}\n\nRewrite the first sentence of this summary in plain words.\n",
        32,
    )
    final = edit(
        "final",
        slow,
        f"Summary:\n{draft}\n\nIdeas: {review_facts} {review_style}\n\n"
        "Write a better summary of the same story.\n",
        64,
    )
    headline = wf.llm(
        "headline",
        model=medium,
        prompt=f"Write a short headline for this text:\n\n{final}\n",
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
