"""Failures that users of other systems reported, one row each, and the tests that catch them here."""
