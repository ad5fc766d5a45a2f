"""The `fate` command, one file per subcommand."""
