"""Drive the core: in virtual time, on the wall clock, from a journal."""
