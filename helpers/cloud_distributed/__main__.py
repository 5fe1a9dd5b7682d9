"""Compile the simulator before the first visitor needs it: python -m helpers.cloud_distributed."""

from helpers.cloud_distributed import (
    Fleet,
    LlmFleet,
    ServiceTimes,
    ServingEngine,
    concurrency_target,
    poisson,
    predictive,
    queue_length,
    ray_serve,
    schedule,
    serve_llm,
    serving_target,
    simulate,
    target_tracking,
    target_utilisation,
)


def main() -> None:
    """Send a minute of traffic through each policy; numba caches on disk what it compiles for that."""
    arrivals, service = poisson(2.0, 60.0), ServiceTimes({1: [0.1, 0.2]})
    policies = [None, target_utilisation(), queue_length(), concurrency_target(), ray_serve(), target_tracking(),
                schedule({0: 1}), predictive(5.0)]
    for policy in policies:
        run = simulate(arrivals, service, Fleet(policy=policy, startup_s=1.0))
        run.frame()
        run.latency_quantiles_s([0.95])
        run.late(0.25)
    simulate(arrivals, service, Fleet(balancer="central"))  # each of the loops is compiled for itself
    simulate(arrivals, service, Fleet(queue_limit=9))
    engine = ServingEngine((0.0,) * 4, (0.01, 0.0, 0.0, 0.0), 0.0, 10_000)
    tokens = [9] * len(arrivals)
    serve_llm(arrivals, tokens, tokens, LlmFleet(engine, policy=serving_target("tokens", 99.0)))


if __name__ == "__main__":
    main()
