"""What the caches of a mount hold and how well they do, as text (the xattr smb.cache)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smbfuse.core.cache.known import SERVED, Why
from smbfuse.core.cache.metacache import MAX_ENTRIES

if TYPE_CHECKING:
    from smbfuse.core.calls.listings import ListingCalls
    from smbfuse.core.calls.news import NewsStatistics
    from smbfuse.core.calls.watch import Watch


def cache_report(files: ListingCalls, watch: Watch, news: NewsStatistics) -> str:
    """One fact a line: what, a colon, and how much of it."""
    cache, tree = files.cache, files.backend.tree
    verdicts = cache.statistics.verdicts
    facts: list[tuple[str, object]] = [
        ("kept for", f"{cache.lifetime:g} s at most"),
        ("inodes", len(files.inodes)),
        ("entries of listings", f"{cache.entries} of {MAX_ENTRIES}"),
        ("listings that had to go", cache.statistics.evicted),
        *((f"served, {why.value}", verdicts[why]) for why in Why if why in SERVED and verdicts[why]),
        *((f"asked, {why.value}", verdicts[why]) for why in Why if why not in SERVED),
        ("listed ahead for walks", files.foresight.fetched),
        ("of these, used", files.foresight.used),
        ("directories watched", len(watch.watched)),
        ("changes told", news.events),
        ("of these, our own names", news.ours),
        ("too many to be told", news.overflows),
        ("files open at the server", len(files.opens)),
        ("of these, kept for the next open", files.opens.idle),
        ("requests under way", tree.session.connection.window.used - watch.asking),
        ("connections lost", tree.losses),
    ]
    return "".join(f"{name}: {value}\n" for name, value in facts)
