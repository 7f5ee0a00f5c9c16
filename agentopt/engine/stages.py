"""Whether a candidate is evaluated further after a stage: pure functions of its rollouts and of those of whom it is measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from agentopt.core.evaluation import Aggregate, Entry, Rollout
from agentopt.core.task import Objective
from agentopt.engine.racing import least_lead, limit_at_end, spend
from agentopt.engine.schedule import Schedule

__all__ = ["estimate", "has_lead", "stopping_rule"]


_WORTH_A_DUEL = 0.1
"""One-sided level of the lead that a duel is held for."""


def stopping_rule(schedule: Schedule, rollouts: Sequence[Rollout], reference: Entry, lead: bool) -> str:
    """``bound`` or ``raced`` if the candidate of these rollouts, those up to a look, ends behind the reference; else empty.

    It ends behind if that holds for every objective. With ``lead`` it also ends if it will not come to a lead worth a duel.
    """
    rules, trial = schedule.rules, schedule.trial
    if rules.cascade and all(_cannot_reach(schedule, rollouts, reference, objective) for objective in schedule.objectives):
        return "bound"
    if not rules.race:
        return ""
    looks = schedule.stages()[:-1]
    share = spend(looks, trial, rules.risk)[looks.index(len(rollouts))]
    for differences in _differences(schedule, rollouts, reference).values():
        needed = least_lead(differences, trial, _WORTH_A_DUEL) if lead else 0.0
        if not limit_at_end(differences, trial if lead else schedule.size("train"), share) < needed:
            return ""
    return "raced"


def has_lead(schedule: Schedule, rollouts: Sequence[Rollout], incumbent: Entry) -> bool:
    """Whether a candidate leads, in the first objective, by more than chance may give: else no duel is worth it."""
    differences = next(iter(_differences(schedule, rollouts, incumbent).values()))
    if len(differences) < 2:
        return True
    return fmean(differences) >= least_lead(differences, len(differences), _WORTH_A_DUEL)


def estimate(schedule: Schedule, rollouts: Sequence[Rollout], reference: Entry) -> Aggregate:
    """What all rollouts would have made of these: the reference's own mean and the mean of the paired differences.

    The mean of the cases done would be biased by which cases they were.
    """
    scores: dict[str, float] = {}
    for objective in schedule.objectives:
        theirs, ours = _search_values(schedule, reference, objective), schedule.values(rollouts, objective)
        turned = fmean(theirs.values()) + fmean(ours[job] - theirs[job] for job in ours)
        scores[objective.name] = turned if objective.direction == "max" else -turned
    done, _ = schedule.aggregate(rollouts)
    return Aggregate(scores, len(rollouts), done.spread)


def _search_values(schedule: Schedule, entry: Entry, objective: Objective) -> dict[tuple[str, int], float]:
    rollouts = entry.evaluation.rollouts if entry.evaluation else ()
    return schedule.values(filter(schedule.is_search, rollouts), objective)


def _differences(schedule: Schedule, rollouts: Sequence[Rollout], reference: Entry) -> Mapping[str, list[float]]:
    """Per objective. A reference that was scored again with fresh seeds had so much luck in the search as its scores fell; that counts."""
    found: dict[str, list[float]] = {}
    for objective in schedule.objectives:
        theirs, ours = _search_values(schedule, reference, objective), schedule.values(rollouts, objective)
        score = reference.scores[objective.name]
        luck = fmean(theirs.values()) - (score if objective.direction == "max" else -score)
        found[objective.name] = [ours[job] - theirs[job] + luck for job in ours]
    return found


def _cannot_reach(schedule: Schedule, rollouts: Sequence[Rollout], reference: Entry, objective: Objective) -> bool:
    """Whether the best honest score on all that is left would not do."""
    best = objective.ceiling if objective.direction == "max" else objective.floor
    if best is None:
        return False
    total, ours = schedule.size("train"), schedule.values(rollouts, objective)
    left = (total - len(ours)) * (best if objective.direction == "max" else -best)
    return (sum(ours.values()) + left) / total < fmean(_search_values(schedule, reference, objective).values())
