"""The decision core: events in, commands out; no clock, no I/O, no text."""
