"""From Python: tune the weights by which jobs with release dates are ordered for three machines."""

import agentopt


def cases(split, rng):
    return [agentopt.Case(f"{split}-{k}", [[rng.randint(1, 100), rng.randint(0, 500)] for _ in range(24)]) for k in range(6)]


task = agentopt.Task(
    name="release_dates",
    goal="Order jobs, each a length and the time it is released, such that the last machine is done early.",
    parameters={"weights": {"length": 0.0, "release": 1.0}},
    objectives=[agentopt.Objective("end", "min")],
    cases=cases,
)


@task.run
def run(program, jobs):
    weights = program.weights
    return sorted(range(len(jobs)), key=lambda k: weights["length"] * jobs[k][0] + weights["release"] * jobs[k][1])


@task.score
def score(case, order, measured):
    if sorted(order) != list(range(len(case.input))):
        raise agentopt.Reject("the order has to name every job once")
    free = [0, 0, 0]
    for length, release in (case.input[job] for job in order):
        machine = free.index(min(free))
        free[machine] = max(free[machine], release) + length
    return agentopt.Score(end=max(free))


if __name__ == "__main__":
    result = agentopt.evolve(task, budget="200evals", executor="inline", rng_seed=0, out=None)
    print(result.status, dict(result.best.scores), dict(result.best.values))
