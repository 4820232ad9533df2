"""How long things are kept. 0 keeps them for ever."""

from __future__ import annotations

from pydantic import Field

from tinko_pipelines.state_folder import StateFolder


class KeepingSettings(StateFolder):
    """What `tinko retention` may roll up or remove, and how many snapshots there are."""

    snapshots_kept: int = Field(
        7, ge=1, le=1000, description="So many published snapshots are kept, the newest included."
    )
