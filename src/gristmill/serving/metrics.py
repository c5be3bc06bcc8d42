"""Figures of a server in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats)."""

from __future__ import annotations

from gristmill.serving.answer import AnswerQueue

OUTCOMES = ("answered", "failed", "left", "refused")  # refused: no place


def metrics(queue: AnswerQueue) -> str:
    """What was done since the server began, and what is under way."""
    scheduler, counts = queue.worker.scheduler, queue.counts
    lines = ["# TYPE gristmill_requests_total counter"]
    lines += [f'gristmill_requests_total{{outcome="{outcome}"}} {counts[outcome]}' for outcome in OUTCOMES]
    counters = {
        "prompt_tokens_total": counts["prompt_tokens"],
        "generated_tokens_total": counts["tokens"],
        "steps_total": scheduler.steps if scheduler else 0,
        "read_tokens_total": scheduler.read if scheduler else 0,
        "shared_tokens_total": scheduler.shared if scheduler else 0,
        "drafted_tokens_total": scheduler.drafted if scheduler else 0,
        "accepted_tokens_total": scheduler.accepted if scheduler else 0,
    }
    gauges = {
        "requests_inside": queue.inside,
        "answers_under_way": len(scheduler.going) if scheduler else 0,
        "answers_waiting": len(scheduler.waiting) if scheduler else 0,
        "cache_pages_used": len(scheduler.pages.users) if scheduler else 0,
    }
    for kind, figures in (("counter", counters), ("gauge", gauges)):
        for name, value in figures.items():
            lines += [f"# TYPE gristmill_{name} {kind}", f"gristmill_{name} {value}"]
    return "\n".join(lines) + "\n"
