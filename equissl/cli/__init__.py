"""The command line: ``equissl COMMAND [POSITIONALS] [key=value ...]``; a command imports what it runs."""
