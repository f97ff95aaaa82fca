"""What is encoded decodes to the same: one strategy for every structure, made from its fields."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smbfuse.errors import WireError
from smbfuse.wire import codec, commands, filelevels, fsctls, infolevels, trans2
from smbfuse.wire.chains import iter_entries, pack_entries
from smbfuse.wire.codec import BODIES, VARIABLE, AndXBody, Body, WireStruct
from smbfuse.wire.filelevels import Fea
from smbfuse.wire.frame import decode, encode
from smbfuse.wire.header import Header
from smbfuse.wire.locking import LockingRange32, LockingRange64
from smbfuse.wire.setup import EchoRequest
from smbfuse.wire.text import ASCII, OEM, UNICODE, TextCodec
from smbfuse.wire.writer import Fixed, Tail

assert commands.__all__
assert trans2.FindFirst2Parameters.SIZE
assert fsctls.FileZeroData.SIZE

each = settings(max_examples=max(25, settings.default.max_examples // 10) if settings.default else 25)
"""For tests over all structures: fewer examples of every single one."""

_NOT_MADE = {"Body", "AndXBody", "EmptyResponse", "RawBody"}
"""By name: of RawBody too the twin is there until it is collected."""


def structures(base: type[WireStruct] = WireStruct) -> Iterator[type[WireStruct]]:
    """All classes that `@wire` or `@message` made. Slots leave a twin of each behind, which has no size."""
    for made in base.__subclasses__():
        yield from structures(made)
        if "unpack" in vars(made) and made.__name__ not in _NOT_MADE:
            yield made


STRUCTURES = sorted(set(structures()), key=lambda made: made.__name__)


def texts(codec_: TextCodec) -> st.SearchStrategy[str]:
    """Names without NUL, which a terminator would cut. OEM bytes that are no character come as lone surrogates."""
    if codec_ is UNICODE:
        return st.text(st.characters(exclude_characters="\0", categories=None), max_size=12).filter(_is_one_spelling)
    width = 256 if codec_ is OEM else 128
    return st.text(st.sampled_from([codec_.decode(bytes([value])) for value in range(1, width)]), max_size=12)


def _is_one_spelling(value: str) -> bool:
    """A high and a low surrogate side by side come back as the one character that they are."""
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass") == value


def numbers(code: str) -> st.SearchStrategy[int]:
    bits = 8 * struct.calcsize("<" + code)
    low = -(1 << bits - 1) if code.islower() else 0
    return st.integers(low, low + (1 << bits) - 1)


def values_of_fixed(mark: Fixed, metadata: Any) -> st.SearchStrategy[Any]:  # noqa: ANN401 - dataclasses' own
    if mark.code.endswith("s"):
        size = int(mark.code[:-1])
        return st.binary(min_size=size, max_size=size)
    number = numbers(mark.code)
    return number.filter(bool) if "total_of" in metadata else number


def values_of_tail(name: str, tail: Tail, text: TextCodec) -> st.SearchStrategy[Any]:
    match tail.extent:
        case "gap":
            return st.none()
        case "struct":
            return instances(tail.made, text)
        case "setup":
            return st.binary(max_size=4).map(lambda half: half + half)
        case "sized":
            return st.binary(min_size=tail.size, max_size=tail.size)
        case "items" | "rest" if name in _ITEMS:
            items: st.SearchStrategy[Any] = _ITEMS[name](text)
            return items
        case "zero":
            return texts(ASCII if tail.codec == "ASCII" else text)
    if "decode" in tail.decode:
        return texts(ASCII if "ASCII" in tail.decode else text)
    return st.binary(max_size=20)


_ITEMS: dict[str, Any] = {
    "dialects": lambda _: st.lists(texts(ASCII), max_size=4).map(tuple),
    "groups": lambda text: st.lists(instances(_made("PosixId"), text), max_size=3).map(tuple),
    "snapshots": lambda _: st.lists(texts(UNICODE).filter(bool), max_size=3).map(tuple),
    "feas": lambda text: st.lists(instances(Fea, text), max_size=3).map(tuple),
    "unlocks": lambda text: st.lists(instances(LockingRange64, text), max_size=3).map(tuple),
    "locks": lambda text: st.lists(instances(LockingRange64, text), max_size=3).map(tuple),
}
_FIXED_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "lock_type": numbers("B").map(lambda value: value | 0x10),  # the ranges above are the large ones
    "andx_command": st.just(0xFF),
    "terminator": st.just(b"\0"),
}


def _made(name: str) -> type[WireStruct]:
    return next(made for made in STRUCTURES if made.__name__ == name)


def instances(made: type[WireStruct], text: TextCodec) -> st.SearchStrategy[Any]:
    """Structures of one class, by the marks of its fields. What exists on the wire only stays away."""
    hints = get_type_hints(made, include_extras=True)
    chosen: dict[str, st.SearchStrategy[Any]] = {}
    for f in fields(made):  # type: ignore[arg-type] # a dataclass, though the type does not say so
        if not f.init or "offset_of" in f.metadata or f.name == "extra":
            continue
        mark = hints[f.name].__metadata__[0]
        if f.name in _FIXED_VALUES:
            chosen[f.name] = _FIXED_VALUES[f.name]
        elif isinstance(mark, Fixed):
            chosen[f.name] = values_of_fixed(mark, f.metadata)
        else:
            chosen[f.name] = values_of_tail(f.name, mark, text)
    return st.builds(made, **chosen)


def in_a_message(body: Body, text: TextCodec) -> Body:
    """The body after a trip through a whole message."""
    flags2 = 0x8000 if text is UNICODE else 0
    header = Header(command=body.COMMAND, flags=0x80 * body.REPLY, flags2=flags2)
    made = body.unpack(b"".join(map(bytes, encode(header, body))), 32, None, text)
    return made


@pytest.mark.parametrize("text", [UNICODE, OEM], ids=["unicode", "oem"])
@pytest.mark.parametrize("made", STRUCTURES, ids=lambda made: made.__name__)
@each
@given(data=st.data())
def test_round_trip(made: type[WireStruct], text: TextCodec, data: st.DataObject) -> None:
    value = data.draw(instances(made, text))
    if isinstance(value, Body):
        assert in_a_message(value, text) == value
    else:
        raw = value.pack(text)
        assert made.unpack(raw, text=text) == value
        assert made.unpack(memoryview(b"before" + raw), 6, None, text) == value


@given(st.lists(instances(LockingRange32, UNICODE), max_size=4).map(tuple))
def test_locking_ranges_of_32_bits(ranges: tuple[LockingRange32, ...]) -> None:
    made = _made("LockingAndXRequest")
    body = made(fid=1, lock_type=0, locks=ranges, unlocks=ranges[:1])  # type: ignore[call-arg] # by name
    assert isinstance(body, Body)
    assert in_a_message(body, UNICODE) == body


CHAINED = [*infolevels.FIND.values(), filelevels.FileStreamInfo, filelevels.FileNotify, filelevels.FileFullEa]


@pytest.mark.parametrize("made", CHAINED, ids=lambda made: made.__name__)
@each
@given(data=st.data(), align=st.sampled_from([1, 2, 4, 8]))
def test_chains(made: type[WireStruct], data: st.DataObject, align: int) -> None:
    entries: list[Any] = data.draw(st.lists(instances(made, UNICODE), max_size=5))
    found: list[Any] = list(iter_entries(made, pack_entries(entries, align=align)))
    for entry in [*entries, *found]:
        entry.next_entry_offset = 0
    assert found == entries


@given(st.lists(texts(ASCII), max_size=5).map(tuple))
def test_gea_list(wanted: tuple[str, ...]) -> None:
    assert filelevels.decode_geas(filelevels.encode_geas(wanted)) == wanted


def small(body: type[Body]) -> st.SearchStrategy[Any]:
    return instances(body, UNICODE)


_ANDX = [choice.made for choices in BODIES.values() for choice in choices if issubclass(choice.made, AndXBody)]
_REQUESTS = [made for made in _ANDX if not made.REPLY]


@given(st.data())
def test_andx_chains(data: st.DataObject) -> None:
    """Any requests that may be followed, one after the other, decode to what went in."""
    chain = data.draw(st.lists(st.sampled_from(_REQUESTS), min_size=1, max_size=4))
    bodies = [data.draw(small(made)) for made in chain]
    for body in bodies:
        body.andx_offset = 0
    raw = b"".join(map(bytes, encode(Header(command=bodies[0].COMMAND, flags2=0x8000), *bodies)))
    message = decode(raw)
    assert [command for command, _ in message.members] == [body.COMMAND for body in bodies]
    for (_, member), body in zip(message.members, bodies, strict=True):
        assert isinstance(member, AndXBody)
        member.andx_command, member.andx_offset = body.andx_command, body.andx_offset
        assert member == body


def test_every_body_is_entered_once() -> None:
    entered = [choice.made for choices in BODIES.values() for choice in choices] + list(VARIABLE.values())
    assert len(entered) == len(set(entered))
    assert {made for made in STRUCTURES if issubclass(made, Body)} == set(entered)


def numeric_fields(made: type[WireStruct]) -> list[str]:
    hints = get_type_hints(made, include_extras=True)
    marks = {f.name: hints[f.name].__metadata__[0] for f in fields(made) if f.init}  # type: ignore[arg-type] # a dataclass
    return [name for name, mark in marks.items() if isinstance(mark, Fixed) and not mark.code.endswith("s")]


@pytest.mark.parametrize("made", [made for made in STRUCTURES if numeric_fields(made)], ids=lambda made: made.__name__)
@each
@given(data=st.data())
def test_numbers_that_do_not_fit(made: type[WireStruct], data: st.DataObject) -> None:
    value = data.draw(instances(made, UNICODE))
    setattr(value, data.draw(st.sampled_from(numeric_fields(made))), 1 << 64)
    with pytest.raises(WireError, match=f"{made.__name__}: a value does not fit"):
        value.pack()


def test_bytes_that_do_not_fit() -> None:
    with pytest.raises(WireError, match="EchoRequest: a value does not fit"):
        EchoRequest(data=bytes(65536)).pack()
    with pytest.raises(WireError, match="must have 16 bytes"):
        _made("NegotiateExtendedResponse")(  # type: ignore[call-arg] # by name
            dialect_index=0, security_mode=3, max_mpx_count=1, max_buffer_size=1, capabilities=0, server_guid=b"short"
        ).pack()


def test_fields_must_say_how_they_end() -> None:
    """Mistakes in declarations are found at import."""
    with pytest.raises(TypeError, match="has no length_of"):

        @codec.wire
        class NoLength(WireStruct):
            data: codec.Blob

    with pytest.raises(TypeError, match="needs a Gap"):

        @codec.wire
        class NoGap(WireStruct):
            data_offset: codec.U16 = codec.offset_of("data")
            data_length: codec.U16 = codec.length_of("data")
            data: codec.Blob

    with pytest.raises(TypeError, match="odd size"):

        @codec.message(0xFE)
        class OddWords(Body):
            single: codec.U8


def test_generated_code_shows_in_tracebacks() -> None:
    import inspect

    assert "self.fid" in inspect.getsource(_made("FlushRequest").unpack)
