"""Culling that spares a kernel which Voila has just handed out of its pool."""

import time
from typing import Any

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager


class GraceKernelManager(AsyncMappingKernelManager):
    """Ends kernels that nobody uses, but none in its first seconds with a reader.

    A pooled kernel may have been idle for hours when a reader gets it, and would be culled before
    the reader's browser connects. Voila never offers a pooled kernel for culling, so the first
    call for a kernel tells when it was handed out.
    """

    grace_s = 30.0

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._handed_out: dict[str, float] = {}

    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        """Cull as usual once the grace is over."""
        now = time.monotonic()
        if now - self._handed_out.setdefault(kernel_id, now) >= self.grace_s:
            await super().cull_kernel_if_idle(kernel_id)
