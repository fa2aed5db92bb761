"""
What ``mailerd demo`` plays with: samples, a mail server that keeps what it gets, a check of what arrived.

Nothing here talks to a terminal; ``cli/demo.py`` tells the story. The daemon of the demo is the real one.
"""
