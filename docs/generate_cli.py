"""Write docs/cli.md from the commands' own help.

    .venv/bin/python docs/generate_cli.py

`tests/meta/test_docs.py` fails while the page differs from what this prints.
"""

import os
import subprocess
import sys
from pathlib import Path

from fate.cli.main import COMMANDS

PAGE = Path(__file__).with_name("cli.md")
INTRO = """# Commands

Written by `docs/generate_cli.py` from `--help`. Exit codes: 0 all well, 1 the run failed, 2 bad
input (one line says what), 130 interrupted.
"""
#: Commands that are groups of commands.
GROUPS = {"runs", "models", "list", "bench"}


def help_text(*words: str) -> str:
    """Return the help of a command as a terminal of 90 columns shows it."""
    code = "import sys; from fate.cli.main import main; sys.argv[0] = 'fate'; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--help"],
        env={**os.environ, "COLUMNS": "90", "TERM": "dumb", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def subcommands(text: str) -> list[str]:
    """Return the names under `Commands:` in a help text."""
    lines = text.partition("Commands:\n")[2].splitlines()
    return [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]


def page() -> str:
    """Return the whole page."""
    parts = [INTRO, _section("fate", help_text())]
    for name in COMMANDS:
        text = help_text(name)
        parts.append(_section(f"fate {name}", text))
        if name in GROUPS:
            parts += [
                _section(f"fate {name} {sub}", help_text(name, sub)) for sub in subcommands(text)
            ]
    return "\n".join(parts)


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n```\n{text}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
