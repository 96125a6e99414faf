"""Checks of user-written components, one function per kind; see CONTRIBUTING.md."""
