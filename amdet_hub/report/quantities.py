"""Sizes and durations as people write them. Standard library only."""


def format_bytes(count: float) -> str:
    """A size in decimal units, as the Hub shows them: `1536` is `"1.5 kB"`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def format_duration(seconds: float) -> str:
    """A duration for people: `"45 s"`, `"3 min"`, `"1 h 20 min"`; a started second counts."""
    whole = max(1, round(seconds))
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
