"""Audits as they are shown: read from rows, said in words, written as a page, JSON, Markdown and text."""
