"""What a prompt says about the side that is looked at.

threestudio (`prompt_processors/base.py`) appends `, front view` for azimuths within 45 degrees of the front, `, back
view` beyond 135, `, overhead view` above 60 degrees of elevation, which wins, and `, side view` otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

from glasshouse.vision.mesh.cameras import Cameras

VIEWS = ("side", "front", "back", "overhead")


def view_words(cameras: Cameras, *, front: float = 45.0, back: float = 45.0, overhead: float = 60.0) -> list[str]:
    """The side that each camera sees. `front` and `back` are half-widths of sectors, all in degrees."""
    found = []
    for azimuth, elevation in zip(cameras.azimuth.tolist(), cameras.elevation.tolist(), strict=True):
        turned = abs((azimuth + 180) % 360 - 180)
        if elevation > overhead:
            found.append("overhead")
        elif turned > 180 - back:
            found.append("back")
        else:
            found.append("front" if turned < front else "side")
    return found


def with_views(prompts: Sequence[str], views: Sequence[str]) -> list[str]:
    """Prompts that name the side looked at. Raises `ValueError` for a side that there is not."""
    unknown = sorted(set(views) - set(VIEWS))
    if unknown:
        raise ValueError(f"there is no view {unknown[0]!r}; there are {', '.join(VIEWS)}")
    return [f"{prompt}, {view} view" for prompt, view in zip(prompts, views, strict=True)]


__all__ = ["VIEWS", "view_words", "with_views"]
