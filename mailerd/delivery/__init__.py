"""
One slice, one outcome per recipient: looked up, rendered, claimed, handed over, marked.

Knows the ledger, the contacts, the letter and the transport's sessions; knows nothing of jobs and queues:
``work`` hands it recipients and is told how the pass ended.
"""

from mailerd.delivery.delivery import Delivery
from mailerd.delivery.values import End, Letter, Pass, Way, Work, end_of, variables_of

__all__ = ["Delivery", "End", "Letter", "Pass", "Way", "Work", "end_of", "variables_of"]
