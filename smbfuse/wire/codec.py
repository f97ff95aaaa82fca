"""Declare a wire structure once: its size, encoder and decoder follow from the annotations.

`@wire` makes a plain structure, `@message` the words and bytes of one SMB command (parameter words, ByteCount, byte
block). The functions of both are written and compiled by `writer.py`, once, and leave nothing to interpret per message.
Lengths, counts and offsets that follow from other fields never become attributes.

Positions are counted from the start of the SMB header, because that is what offsets and Unicode pads of the protocol
refer to: `pack_into` appends to a bytearray that begins with the header, `unpack` reads a buffer that does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Literal,
    NamedTuple,
    Self,
    TypeVar,
    dataclass_transform,
)

from smbfuse.wire.text import UNICODE, TextCodec
from smbfuse.wire.writer import Fixed, Tail, Writer

Buffer = bytes | bytearray | memoryview


U8 = Annotated[int, Fixed("B")]
U16 = Annotated[int, Fixed("H")]
U32 = Annotated[int, Fixed("I")]
U64 = Annotated[int, Fixed("Q")]
I16 = Annotated[int, Fixed("h")]
I32 = Annotated[int, Fixed("i")]
I64 = Annotated[int, Fixed("q")]
U64Swapped = Annotated[int, Fixed("Q", swapped=True)]
"""High half first, as in LOCKING_ANDX_RANGE64."""
Raw3 = Annotated[bytes, Fixed("3s")]
Raw4 = Annotated[bytes, Fixed("4s")]
Raw8 = Annotated[bytes, Fixed("8s")]
Raw16 = Annotated[bytes, Fixed("16s")]
Raw24 = Annotated[bytes, Fixed("24s")]

Blob = Annotated[bytes, Tail("counted")]
"""Bytes whose length another field holds."""
Guid = Annotated[bytes, Tail("sized", size=16)]
"""16 bytes in the byte block."""
Payload = Annotated[Buffer, Tail("payload", decode="{}")]
"""As Blob, for file data: never copied. Decoding gives a slice of the buffer; encoding hands the object through."""
Rest = Annotated[bytes, Tail("rest")]
"""All bytes up to the end of the block."""
Gap = Annotated[bytes | None, Tail("gap")]
"""Pad in front of the next part. None: as many zeros as its alignment asks for; bytes: just these."""
Setup = Annotated[bytes, Tail("setup")]
"""Setup words of a transaction: they stand behind the fixed words and make WordCount vary."""
Text = Annotated[str, Tail("counted", encode="text.encode({})", decode="text.decode({})")]
"""Text in the message's character set, length in another field, no terminator."""
TextAligned = Annotated[str, Tail("counted", encode="text.encode({})", decode="text.decode({})", aligned=True)]
"""As Text, at an even position when Unicode; the pad is not in the length."""
TextZ = Annotated[str, Tail("zero")]
"""Text with terminator, aligned to two bytes when Unicode."""
TextZUnaligned = Annotated[str, Tail("zero", codec="unaligned text")]
TextZOptional = Annotated[str | None, Tail("zero", optional=True)]
"""As TextZ, or None where the block ends before it."""
TextZUnalignedOptional = Annotated[str | None, Tail("zero", codec="unaligned text", optional=True)]
AsciiZ = Annotated[str, Tail("zero", codec="ASCII")]
PathZ = Annotated[str, Tail("zero", prefix=b"\x04")]
"""SMB_STRING: buffer format 4, then as TextZ. [MS-CIFS] 2.2.1.4."""


def length_of(name: str, *, unit: int = 1, shift: int = 0, split: bool = False, init: Literal[False] = False) -> Any:  # noqa: ANN401 - as dataclasses.field
    """A length that lives on the wire only; `unit` bytes to each count.

    Of a length split in two halves of 16 bits, `split` marks the low one, `shift=16` the high one.
    """
    return field(init=init, repr=False, compare=False, metadata={"length_of": (name, unit, shift), "split": split})


def total_of(name: str, *, default: int = 0) -> Any:  # noqa: ANN401 - as dataclasses.field
    """A number of its own, by default the length of a tail: the encoder fills that in where it is 0.

    Say `default=0` in the declaration too: type checkers look for it there.
    """
    return field(default=default, repr=False, metadata={"total_of": name})


def offset_of(name: str, *, init: Literal[False] = False) -> Any:  # noqa: ANN401 - as dataclasses.field
    """The position of a tail, counted from the header. Computed; kept as it came only where the tail is empty."""
    return field(default=0, init=init, repr=False, compare=False, metadata={"offset_of": name})


def aligned(to: int, *, init: Literal[False] = False) -> Any:  # noqa: ANN401 - as dataclasses.field
    """Value of a Gap: None, which pads the next part to a multiple of `to` from the start of the header."""
    return field(default=None, init=init, repr=False, metadata={"align": to})


class WireStruct:
    """Base of every structure; `@wire` and `@message` fill in what is declared here."""

    __slots__ = ()
    SIZE: ClassVar[int]
    """Bytes of the fixed part."""

    def __repr__(self) -> str:
        shown = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.repr)  # type: ignore[arg-type] # as below
        return f"{type(self).__name__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        names = [f.name for f in fields(self) if f.compare]  # type: ignore[arg-type] # every decorated class is a dataclass
        return all(getattr(self, name) == getattr(other, name) for name in names)

    __hash__ = None  # type: ignore[assignment] # they can be changed

    def pack_into(self, out: bytearray, text: TextCodec = UNICODE) -> Buffer | None:
        """Append the encoding to `out`, and return the Payload if the structure ends in one (it is not appended)."""
        raise NotImplementedError

    def pack(self, text: TextCodec = UNICODE) -> bytes:
        """Encode to bytes of its own."""
        out = bytearray()
        payload = self.pack_into(out, text)
        return bytes(out) if payload is None else bytes(out) + bytes(payload)

    @classmethod
    def unpack(cls, buf: Buffer, pos: int = 0, end: int | None = None, text: TextCodec = UNICODE) -> Self:
        """Decode buf[pos:end], or raise WireError. Bytes behind the structure are not looked at."""
        raise NotImplementedError


class Body(WireStruct):
    """The words and bytes of one command in one direction."""

    __slots__ = ()
    COMMAND: ClassVar[int]
    REPLY: ClassVar[bool]
    WORD_COUNT: ClassVar[int]
    """As the WordCount byte says it, setup words left out."""
    ANDX: ClassVar[bool] = False
    extra: bytes
    """Bytes of the block that follow what the document names; servers put pads and leftovers there."""


When = Callable[[int, bytes], bool]
"""Tells bodies of one WordCount apart, by the header's Flags2 and the parameter words."""


class Choice(NamedTuple):
    """One class that a (command, direction, WordCount) may stand for. The first whose `when` holds is taken."""

    made: type[Body]
    when: When | None


BODIES: Final[dict[tuple[int, bool, int], list[Choice]]] = {}
"""(command, reply, WordCount) to the classes declared for it."""
VARIABLE: Final[dict[tuple[int, bool], type[Body]]] = {}
"""(command, reply) to the class whose setup words make WordCount vary."""

S = TypeVar("S", bound=WireStruct)
B = TypeVar("B", bound=Body)


@dataclass(slots=True, kw_only=True)
class AndXBody(Body):
    """Body of a command that another may follow in the same message. [MS-CIFS] 2.2.3.4.

    `frame.py` writes the link to the next member. Of the last member the offset means nothing and is kept as it came.
    """

    ANDX: ClassVar[bool] = True
    andx_command: U8 = 0xFF
    andx_reserved: U8 = 0
    andx_offset: U16 = 0


@dataclass_transform(kw_only_default=True, field_specifiers=(field, length_of, total_of, offset_of, aligned))
def wire(cls: type[S]) -> type[S]:
    """Make a slots dataclass whose pack_into and unpack follow the annotations' order."""
    made = _bare(cls)
    Writer(made, framed=False).put_on(made)
    return made


def _bare(cls: type[S]) -> type[S]:
    """A dataclass without what the writer or WireStruct has: to make these at import takes ten times as long."""
    return dataclass(slots=True, kw_only=True, init=False, repr=False, eq=False)(cls)


@dataclass_transform(kw_only_default=True, field_specifiers=(field, length_of, total_of, offset_of, aligned))
def message(
    command: int, *, reply: bool = False, words: int | None = None, when: When | None = None
) -> Callable[[type[B]], type[B]]:
    """`@wire` for the body of a command, entered in BODIES.

    `words` is WordCount where servers say another number than there are; `when` tells bodies of one WordCount apart.
    """

    def make(cls: type[B]) -> type[B]:
        cls.__annotations__["extra"] = Rest
        cls.extra = b""
        made = _bare(cls)
        writer = Writer(made, framed=True, words=words)
        made.COMMAND, made.REPLY, made.WORD_COUNT = command, reply, writer.words
        writer.put_on(made)
        if writer.setup:
            VARIABLE[command, reply] = made
        else:
            BODIES.setdefault((command, reply, made.WORD_COUNT), []).append(Choice(made, when))
        return made

    return make
