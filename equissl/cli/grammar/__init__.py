"""The grammar of the command line: the table of commands, parsing, help and shell completion; no torch."""
