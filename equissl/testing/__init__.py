"""Laws that every component keeps, as functions to call on one's own; see CONTRIBUTING.md."""
