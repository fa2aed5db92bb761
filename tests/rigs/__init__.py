"""Machinery of the tests: real servers, a real daemon, and the one way to wait. Knows no test."""
