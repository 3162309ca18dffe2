"""The closed loop on batches that have come already: would it have paid?"""

from __future__ import annotations

from ml_assets.replay.run import replay

__all__ = ["replay"]
