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
        "prompt_tokens": counts["prompt_tokens"],
        "generated_tokens": counts["tokens"],
        "steps": scheduler.steps if scheduler else 0,
        "read_tokens": scheduler.read if scheduler else 0,
        "shared_tokens": scheduler.shared if scheduler else 0,
    }
    for name, value in counters.items():
        lines += [f"# TYPE gristmill_{name}_total counter", f"gristmill_{name}_total {value}"]
    gauges = {
        "requests_inside": queue.inside,
        "answers_under_way": len(scheduler.going) if scheduler else 0,
        "answers_waiting": len(scheduler.waiting) if scheduler else 0,
        "cache_pages_used": len(scheduler.pages.users) if scheduler else 0,
    }
    for name, value in gauges.items():
        lines += [f"# TYPE gristmill_{name} gauge", f"gristmill_{name} {value}"]
    return "\n".join(lines) + "\n"
