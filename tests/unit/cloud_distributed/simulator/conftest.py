"""What the tests of policies share."""

from types import SimpleNamespace

import numpy as np
import pytest

from helpers.cloud_distributed import Policy


class Driver:
    """Calls a policy as the simulator does, with signals that a test chooses."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.now = policy, 0.0
        self.memory, self.parameters = np.zeros(policy.memory), np.array(policy.parameters, float)

    def __call__(self, target: float = 1, **seen: float) -> float:
        self.now += self.policy.period_s
        signals = {"ready": target, "starting": 0, "waiting": 0, "in_service": 0, "arrived": 0, "ongoing": 0,
                   "utilisation": 0} | seen
        return self.policy.decide(SimpleNamespace(now_s=self.now, elapsed_s=self.policy.period_s, target=target,
                                                  **signals), self.memory, self.parameters)


@pytest.fixture
def driver_of():
    """Policy -> a Driver of it."""
    return Driver
