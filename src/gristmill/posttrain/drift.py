"""What goes wrong in RL, seen in its log: the reward rises and the truth falls, answers become one, the policy leaves
the model that it began with, answers become long or short."""

from __future__ import annotations

from gristmill.training.watch import Records, Watch

IN_A_ROW = 10  # batches whose means are compared
FELL = 0.05  # of the held-out truth, below its best
COLLAPSED = 0.1  # of the first batches' entropy
FAR = 0.5  # nats a token
LONGER = 2.0  # times as long, or as short, as the first answers
MEANINGS = {
    "reward_hacked": "the reward rises while answers to held-out prompts become less true",
    "entropy_collapsed": "the answers to a prompt hardly differ any more: there is nothing left to compare",
    "kl_blew_up": "the policy has gone far from the model that it began with",
    "nothing_compared": "all answers to a prompt are rewarded alike: nothing is learned from them",
    "length_drifted": "answers are twice as long, or as short, as they were",
}
ALIKE = 5  # batches in a row that hold nothing to compare
REMEDY = "a lower rl.lr, a higher rl.kl, fewer epochs, or another reward"


def warnings(records: Records) -> dict[str, int]:
    """The names of what went wrong, each with the step at which it was so first; none if all is well."""
    found: dict[str, int] = {}
    batches = [record for record in records if "reward" in record]
    means = {name: averages(batches, name) for name in ("reward", "entropy", "kl", "length")}
    best, rewarded = -float("inf"), -float("inf")  # the held-out truth, and the reward when that was
    at = 0
    for record in records:
        at += "reward" in record
        if "truth" not in record:
            continue
        reward = means["reward"][at - 1] if at else -float("inf")
        if record["truth"] >= best:
            best, rewarded = record["truth"], reward
        elif record["truth"] < best - FELL and reward > rewarded:
            found.setdefault("reward_hacked", int(record["step"]))
    equal = [batch.get("equal") == 1.0 for batch in batches]
    for number in range(ALIKE - 1, len(batches)):
        if all(equal[number - ALIKE + 1 : number + 1]):
            found.setdefault("nothing_compared", int(batches[number]["step"]))
    for number, batch in enumerate(batches):
        first, now = min(number, IN_A_ROW - 1), {name: values[number] for name, values in means.items()}
        signs = {
            "entropy_collapsed": now["entropy"] < COLLAPSED * means["entropy"][first],
            "kl_blew_up": now["kl"] > FAR,
            "length_drifted": not 1 / LONGER < now["length"] / max(1e-9, means["length"][first]) < LONGER,
        }
        for name, sign in signs.items():
            if sign:
                found.setdefault(name, int(batch["step"]))
    return found


def averages(batches: Records, name: str) -> list[float]:
    """The mean of a figure over each batch and those before it, IN_A_ROW in all."""
    values = [float(batch.get(name, 0.0)) for batch in batches]
    return [sum(values[max(0, at - IN_A_ROW + 1) : at + 1]) / min(at + 1, IN_A_ROW) for at in range(len(values))]


WATCH = Watch(warnings, MEANINGS, REMEDY)
