"""What a run says at its end, for people and as JSON. Pure."""

from __future__ import annotations

from typing import Any

from chaos.plan import Outcome

SHOWN = 20


def text(outcome: Outcome) -> str:
    """The report."""
    verdict = outcome.verdict
    states = ", ".join(f"{number} {state}" for state, number in sorted(verdict.states.items()))
    share = f"{100 * outcome.aimed / outcome.kills:.0f} %" if outcome.kills else "none"
    slowest = sorted(outcome.slowest.items(), key=lambda pair: -pair[1])[:5]
    lines = [
        f"server            {outcome.server} ({outcome.form})",
        f"took              {outcome.seconds:.0f} s, load a core up to {outcome.load:.1f}",
        f"faults            {outcome.played.total()}: "
        + ", ".join(f"{name} {number}" for name, number in sorted(outcome.played.items())),
        f"  met nothing     {sum(outcome.skipped.values())}: {outcome.skipped}",
        f"recipients        {verdict.accepted} accepted: {states}",
        f"mailed            {verdict.mailed}",
        f"repeats           {verdict.repeats}, due again for a lost answer {verdict.again}",
        f"hand-overs cut    {verdict.cut_off}",
        f"unknown           {verdict.unknown}, where DATA had not begun {verdict.not_begun}",
        f"worker kills      {outcome.kills}, with a hand-over open: {share}",
        f"samples           {outcome.samples} of conservation",
        f"daemons ended     {dict(outcome.ends)} and were started again",
        "slowest to flow   " + ", ".join(f"{seconds:.1f} s after {name}" for name, seconds in slowest),
        f"breaches          {len(outcome.breaches)}",
    ]
    if outcome.rates:
        most = ", ".join(f"{number} for {name}" for name, number in outcome.rates.items())
        lines.insert(-1, f"most in a second  {most}")
    if verdict.popped:
        lines.insert(-1, f"lost by brpop     {verdict.popped} recipients of jobs between pop and record")
    lines += [f"  {breach}" for breach in outcome.breaches[:SHOWN]]
    return "\n".join(lines)


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The same for programs."""
    verdict = {**vars(outcome.verdict), "states": dict(outcome.verdict.states)}
    return {**vars(outcome), "verdict": verdict, "played": dict(outcome.played), "ends": dict(outcome.ends)}
