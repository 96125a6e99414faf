"""The command line: ``equissl VERB [THINGS] [key=value ...]``; a verb imports what it needs when it runs."""
