"""What must not be missed in a run: failures, lost devices, ends of workflows."""

from collections.abc import Iterator

from fate.domain import messages as m
from fate.view.fold import Fold
from fate.view.waits import put_aside


def troubles(fold: Fold, record: m.Record) -> Iterator[str]:
    """Yield a record's news; to be called before the fold takes it in and closes activities."""
    for event in record.events:
        text = _of_event(fold, event)
        if text:
            yield text
    for command in record.commands:
        text = _of_command(fold, command)
        if text:
            yield text


def short(fold: Fold, instance: str) -> str:
    """Return an instance's name without its workflow, where there is only one."""
    return instance.partition("/")[2] if len(fold.book.workflows) == 1 else instance


def _of_event(fold: Fold, event: m.Event) -> str:
    text = ""
    match event:
        case m.Failed() if event.activity in fold.open:
            bar = fold.open[event.activity].bar
            what = f"{bar.kind} {short(fold, bar.instance) or bar.model}"
            text = f"{what} on {bar.device} failed: {event.reason}"
        case m.DeviceLost():
            text = f"device {event.device} lost: {event.reason}"
        case m.DeviceReady():
            text = f"device {event.device} is back"
        case m.PlanFailed():
            text = f"planning failed, going on without: {event.reason}"
        case m.ExpandFailed():
            text = f"{short(fold, event.instance)} cannot be rendered: {event.reason}"
        case m.Resumed():
            text = f"resumed: {event.reason or 'another process goes on'}"
        case _:
            pass
    return text


def _of_command(fold: Fold, command: m.LoggedCommand) -> str:
    match command:
        case m.WorkflowEnded():
            reason = f": {command.reason}" if command.reason else ""
            return f"workflow {command.workflow} {command.status}{reason}"
        case m.Dropped():
            name = short(fold, command.instance)
            return f"{name}[{command.item}] is given up: {command.reason}"
        case m.Drained():
            text = put_aside(command)  # of a rest the failure before it has said the reason
            return f"device {command.device} is {text.split(': ')[0] if command.rests else text}"
        case m.Readmitted():
            return f"device {command.device} does well again"
        case _:
            return ""
