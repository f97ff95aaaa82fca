"""The policy of the metadata cache, with a clock of the test's: who may be believed, and for how long."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smbfuse.core.cache.inodes import Inode, Name
from smbfuse.core.cache.known import Absent, Present
from smbfuse.core.cache.metacache import CEILING, MetaCache
from smbfuse.core.server.attrs import Attributes
from tests.core.support import Clock

ACTIMEO = 1.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def promised(clock: Clock) -> MetaCache:
    """Of a share with SMB_UNIQUE_FILE_NAME."""
    return MetaCache(CEILING, str.upper, clock)


@pytest.fixture
def plain(clock: Clock) -> MetaCache:
    """Of a share that promises nothing, with the default actimeo."""
    return MetaCache(ACTIMEO, str.upper, clock)


def attributes(size: int = 0, *, kind: int = stat.S_IFREG) -> Attributes:
    return Attributes(kind=kind, size=size, allocated=0, atime_ns=0, mtime_ns=0, ctime_ns=0)


def file(number: int = 10) -> Inode:
    return Inode(number, stat.S_IFREG)


def directory(number: int = 2) -> Inode:
    return Inode(number, stat.S_IFDIR)


def entries(*names: str) -> dict[str, tuple[str, Attributes | None]]:
    return {name.upper(): (name, attributes(len(name))) for name in names}


def list_(cache: MetaCache, where: Inode, *names: str) -> None:
    with cache.asking(where) as asked:
        cache.learn_listing(where, entries(*names), asked)


# --- lifetimes


def test_sixty_seconds_where_the_server_promises_it(promised: MetaCache, clock: Clock) -> None:
    inode, where = file(), directory()
    promised.learn(inode, attributes(5), promised.now())
    list_(promised, where, "a")
    clock.pass_(59)
    assert promised.attributes(inode) == attributes(5)
    assert isinstance(promised.name(where, "a"), Present)
    assert isinstance(promised.name(where, "missing"), Absent)
    clock.pass_(2)
    assert promised.attributes(inode) is None
    assert promised.name(where, "a") is None
    assert promised.name(where, "missing") is None
    assert promised.listing(where) is None


def test_at_sixty_seconds_it_is_over(promised: MetaCache, clock: Clock) -> None:
    inode = file()
    promised.learn(inode, attributes(), promised.now())
    clock.pass_(60)
    assert promised.attributes(inode) is None


@pytest.mark.parametrize("asked_for", [61.0, 3600.0, float("inf")])
def test_no_option_lifts_the_ceiling(clock: Clock, asked_for: float) -> None:
    cache = MetaCache(asked_for, str.upper, clock)
    inode, where = file(), directory()
    cache.learn(inode, attributes(), cache.now())
    list_(cache, where, "a")
    clock.pass_(59)
    assert cache.attributes(inode) is not None
    assert cache.name(where, "a") is not None
    clock.pass_(2)
    assert cache.attributes(inode) is None
    assert cache.name(where, "a") is None


def test_one_second_where_nothing_is_promised(plain: MetaCache, clock: Clock) -> None:
    inode, where = file(), directory()
    plain.learn(inode, attributes(), plain.now())
    list_(plain, where, "a")
    clock.pass_(0.9)
    assert plain.attributes(inode) is not None
    assert isinstance(plain.name(where, "a"), Present)
    clock.pass_(0.2)
    assert plain.attributes(inode) is None
    assert plain.name(where, "a") is None


def test_actimeo_of_zero_keeps_nothing(clock: Clock) -> None:
    cache = MetaCache(0, str.upper, clock)
    inode, where = file(), directory()
    cache.learn(inode, attributes(), cache.now())
    list_(cache, where, "a")
    assert cache.attributes(inode) is None
    assert cache.name(where, "a") is None
    assert cache.listing(where) is None


def test_age_counts_from_the_question(promised: MetaCache, clock: Clock) -> None:
    """An answer that took 50 seconds is 50 seconds old when it comes."""
    inode, where = file(), directory()
    with promised.asking(where) as asked:
        clock.pass_(50)
        promised.learn(inode, attributes(), asked.when)
        promised.learn_listing(where, entries("a"), asked)
    assert promised.attributes(inode) is not None
    clock.pass_(9)
    assert promised.attributes(inode) is not None
    clock.pass_(2)
    assert promised.attributes(inode) is None
    assert promised.listing(where) is None


def test_being_asked_makes_nothing_younger(promised: MetaCache, clock: Clock) -> None:
    inode, where = file(), directory()
    promised.learn(inode, attributes(), promised.now())
    list_(promised, where, "a")
    for _ in range(59):
        clock.pass_(1)
        assert promised.attributes(inode) is not None
        assert promised.name(where, "a") is not None
    clock.pass_(1)
    assert promised.attributes(inode) is None
    assert promised.name(where, "a") is None


def test_what_remains_is_what_the_kernel_may_keep(promised: MetaCache, clock: Clock) -> None:
    where = directory()
    list_(promised, where, "a")
    clock.pass_(45)
    for name in ("a", "missing"):
        known = promised.name(where, name)
        assert known is not None
        assert promised.remaining(known.until) == pytest.approx(15)
    clock.pass_(100)
    assert promised.remaining(1000.0) == 0


def test_an_older_answer_replaces_no_newer_one(promised: MetaCache, clock: Clock) -> None:
    inode = file()
    early = promised.now()
    clock.pass_(5)
    promised.learn(inode, attributes(2), promised.now())
    promised.learn(inode, attributes(1), early)
    assert promised.attributes(inode) == attributes(2)
    clock.pass_(58)
    assert promised.attributes(inode) is not None


# --- our own changes


def test_changed_file_is_asked_for_again(promised: MetaCache) -> None:
    inode = file()
    promised.learn(inode, attributes(1), promised.now())
    promised.changed(inode)
    assert promised.attributes(inode) is None


def test_answer_asked_before_our_change_never_enters(promised: MetaCache, clock: Clock) -> None:
    inode = file()
    asked, version = promised.now(), inode.version
    clock.pass_(1)
    promised.changed(inode)
    promised.learn(inode, attributes(1), asked, version)
    assert promised.attributes(inode) is None
    promised.learn(inode, attributes(2), promised.now(), inode.version)
    assert promised.attributes(inode) == attributes(2)


def test_names_that_change_while_a_listing_is_asked_for_are_as_we_know_them(promised: MetaCache) -> None:
    where, changed = directory(), file()
    changed.names = (Name(where, "B", "b"),)
    with promised.asking(where) as asked:
        promised.removed(where, "a")
        promised.changed(changed)
        promised.added(where, "new", attributes(7))
        promised.added(where, "unknown", None)
        promised.added(where, "short-lived", attributes(8))
        promised.removed(where, "short-lived")
        promised.doubt_name(where, "c")
        promised.learn_listing(where, entries("a", "b", "c", "d", "short-lived"), asked)
    assert isinstance(promised.name(where, "a"), Absent)
    assert isinstance(promised.name(where, "short-lived"), Absent)
    assert isinstance(promised.name(where, "d"), Present)
    new = promised.name(where, "new")
    assert isinstance(new, Present)
    assert new.attrs == attributes(7)
    assert [promised.name(where, name) for name in ("b", "unknown", "c")] == [None, None, None]
    assert promised.entries == len(entries("b", "unknown", "c", "d", "new"))


def test_a_file_that_changed_after_it_was_made_is_asked_about(promised: MetaCache) -> None:
    where, new = directory(), file()
    with promised.asking(where) as asked:
        promised.added(where, "new", attributes(7))
        new.names = (Name(where, "NEW", "new"),)
        promised.changed(new)
        promised.learn_listing(where, entries("new"), asked)
    assert promised.name(where, "new") is None


def test_a_listing_under_way_of_which_nothing_is_sure_never_enters(promised: MetaCache) -> None:
    where = directory()
    with promised.asking(where) as asked:
        promised.stale(where)
        promised.learn_listing(where, entries("a"), asked)
    assert promised.listing(where) is None


def test_changed_file_is_not_believed_in_its_listing_either(promised: MetaCache) -> None:
    where, inode = directory(), file()
    inode.names = (Name(where, "A", "a"),)
    list_(promised, where, "a", "b")
    promised.changed(inode)
    assert promised.name(where, "a") is None
    assert isinstance(promised.name(where, "b"), Present)
    assert isinstance(promised.name(where, "c"), Absent)


def test_added_name_is_there_at_once(promised: MetaCache, clock: Clock) -> None:
    where = directory()
    list_(promised, where, "a")
    clock.pass_(50)
    promised.added(where, "New", attributes(7))
    known = promised.name(where, "NEW")
    assert isinstance(known, Present)
    assert (known.name, known.attrs) == ("New", attributes(7))
    clock.pass_(11)
    assert promised.name(where, "new") is None, "an addition makes the listing no younger"


def test_added_name_without_attributes_is_asked_for(promised: MetaCache) -> None:
    where = directory()
    list_(promised, where, "a")
    promised.added(where, "new", None)
    assert promised.name(where, "new") is None


def test_removed_name_is_gone_at_once(promised: MetaCache) -> None:
    where = directory()
    list_(promised, where, "a", "b")
    promised.removed(where, "A")
    assert isinstance(promised.name(where, "a"), Absent)
    assert isinstance(promised.name(where, "b"), Present)


CHANGES_OF_NAMES: list[Callable[[MetaCache, Inode, int | None, int], None]] = [
    lambda cache, where, when_ns, links: cache.added(where, "x", None, when_ns, links),
    lambda cache, where, when_ns, links: cache.removed(where, "x", when_ns, links),
]


@pytest.mark.parametrize("change", CHANGES_OF_NAMES)
def test_changes_of_the_names_change_the_directorys_times(
    promised: MetaCache, clock: Clock, change: Callable[[MetaCache, Inode, int | None, int], None]
) -> None:
    where = directory()
    before = replace(attributes(kind=stat.S_IFDIR), nlink=2)
    promised.learn(where, before, promised.now())
    clock.pass_(50)
    change(promised, where, 77, 1)
    assert promised.attributes(where) == replace(before, mtime_ns=77, ctime_ns=77, nlink=3)
    clock.pass_(11)
    assert promised.attributes(where) is None, "a change makes what is known no younger"
    change(promised, where, 78, 0)
    assert promised.attributes(where) is None


@pytest.mark.parametrize("change", CHANGES_OF_NAMES)
def test_a_directory_whose_names_changed_at_an_unknown_time_is_asked_about(
    promised: MetaCache, change: Callable[[MetaCache, Inode, int | None, int], None]
) -> None:
    where = directory()
    promised.learn(where, attributes(kind=stat.S_IFDIR), promised.now())
    asked, version = promised.now(), where.version
    change(promised, where, None, 0)
    assert promised.attributes(where) is None
    promised.learn(where, attributes(kind=stat.S_IFDIR), asked, version)
    assert promised.attributes(where) is None, "that was asked before the change"


def test_links_are_not_counted_where_the_server_counts_none(promised: MetaCache) -> None:
    where = directory()
    promised.learn(where, attributes(kind=stat.S_IFDIR), promised.now())
    promised.added(where, "x", None, 77, 1)
    known = promised.attributes(where)
    assert known is not None
    assert known.nlink == 1


def test_changes_without_a_listing_do_no_harm(promised: MetaCache) -> None:
    where = directory()
    promised.added(where, "a", attributes())
    promised.removed(where, "b")
    promised.update(where, "c", attributes())
    promised.stale(where)
    assert promised.name(where, "a") is None


def test_newer_answer_about_a_name_keeps_the_listings_age(promised: MetaCache, clock: Clock) -> None:
    where = directory()
    list_(promised, where, "a")
    clock.pass_(30)
    promised.update(where, "a", attributes(99))
    promised.update(where, "unlisted", attributes(1))
    known = promised.name(where, "a")
    assert isinstance(known, Present)
    assert known.attrs == attributes(99)
    assert promised.remaining(known.until) == pytest.approx(30)
    assert isinstance(promised.name(where, "unlisted"), Absent)


def test_stale_listing_is_not_believed(promised: MetaCache) -> None:
    where = directory()
    list_(promised, where, "a")
    promised.stale(where)
    assert promised.name(where, "a") is None


# --- names and bounds


def test_names_are_compared_as_the_server_does(promised: MetaCache, clock: Clock) -> None:
    where = directory()
    list_(promised, where, "Grüße.txt")
    known = promised.name(where, "GRÜSSE.TXT")
    assert isinstance(known, Present)
    assert known.name == "Grüße.txt"
    sensitive = MetaCache(CEILING, str, clock)
    other = directory(3)
    with sensitive.asking(other) as asked:
        sensitive.learn_listing(other, {"a": ("a", attributes())}, asked)
    assert isinstance(sensitive.name(other, "A"), Absent)


def test_listings_longest_unused_go_first(clock: Clock) -> None:
    cache = MetaCache(CEILING, str.upper, clock, limit=6)
    first, second, third = directory(2), directory(3), directory(4)
    for where in (first, second, third):
        list_(cache, where, "a", "b")
    cache.name(first, "a")
    list_(cache, directory(5), "a", "b")
    assert cache.listing(second) is None
    assert cache.listing(first) is not None
    assert cache.listing(third) is not None


def test_names_that_we_add_keep_to_the_bound_too(clock: Clock) -> None:
    cache = MetaCache(CEILING, str.upper, clock, limit=5)
    old, where = directory(2), directory(3)
    list_(cache, old, "a", "b")
    list_(cache, where, "a")
    for name in "bcde":
        cache.added(where, name, attributes())
    assert cache.listing(old) is None
    assert isinstance(cache.name(where, "e"), Present)
    cache.added(where, "f", attributes())
    assert cache.listing(where) is None


def test_directory_beyond_the_bound_is_not_kept(clock: Clock) -> None:
    cache = MetaCache(CEILING, str.upper, clock, limit=3)
    where, small = directory(2), directory(3)
    list_(cache, small, "a")
    list_(cache, where, "a", "b", "c", "d")
    assert cache.listing(where) is None
    assert cache.listing(small) is not None


def test_statistics_tell_hits_from_misses(promised: MetaCache, clock: Clock) -> None:
    inode, where = file(), directory()
    promised.attributes(inode)
    promised.learn(inode, attributes(), promised.now())
    promised.attributes(inode)
    list_(promised, where, "a")
    promised.name(where, "a")
    promised.name(where, "missing")
    assert (promised.statistics.hits, promised.statistics.misses) == (3, 1)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["list", "list late", "add", "remove", "stale", "wait", "ask"]),
            st.integers(0, 3),
            st.sampled_from("abcd"),
        ),
        max_size=60,
    )
)
def test_bound_and_age_hold_whatever_happens(steps: list[tuple[str, int, str]]) -> None:
    """Never more entries than the bound, never one older than a minute, never a name against our own last word."""
    clock = Clock()
    cache = MetaCache(3600, str.upper, clock, limit=7)
    places = [directory(number) for number in range(2, 6)]
    begun: dict[int, float] = {}
    ours: dict[tuple[int, str], bool] = {}
    for what, index, name in steps:
        where = places[index]
        if what.startswith("list"):
            with cache.asking(where) as asked:
                ours = {key: there for key, there in ours.items() if key[0] != index}
                if what == "list late":
                    cache.removed(where, name)
                    ours[index, name] = False
                cache.learn_listing(where, entries("a", "b", "c"), asked)
            begun[index] = asked.when
        elif what == "add":
            cache.added(where, name, attributes())
            ours[index, name] = True
        elif what == "remove":
            cache.removed(where, name)
            ours[index, name] = False
        elif what == "stale":
            cache.stale(where)
        elif what == "wait":
            clock.pass_(13)
        else:
            known = cache.name(where, name)
            if known is not None:
                assert clock.now - begun[index] < 60
                assert isinstance(known, Present) == ours.get((index, name), name in "abc")
        held = [len(place.listing.entries) for place in places if place.listing is not None]
        assert cache._entries == sum(held)
        assert cache._entries <= 7
