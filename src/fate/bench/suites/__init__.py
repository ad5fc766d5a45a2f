"""The simulated suites: frozen lists of problems, policies run on each, figures and a report."""
