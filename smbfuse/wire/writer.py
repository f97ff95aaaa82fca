"""Writes the functions of a wire structure from its declaration: `__init__`, `pack_into` and `unpack`.

They are compiled when the first of them is called: a mount uses a fifth of all structures, and is not to wait for the
others. Mistakes in a declaration are found when it is read all the same.
"""

from __future__ import annotations

import linecache
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from functools import cache, partial
from inspect import get_annotations
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_type_hints

from smbfuse.errors import WireError
from smbfuse.wire.text import ASCII, UNICODE, TextCodec

if TYPE_CHECKING:
    from smbfuse.wire.codec import Buffer, WireStruct


class Fixed(NamedTuple):
    """A field of constant size, as a struct format code."""

    code: str
    swapped: bool = False
    """A 64-bit number whose high half comes first."""


class Coder(NamedTuple):
    """How a tail that is neither bytes nor one string is written; each function gets the character set too."""

    encode: Callable[[Any, TextCodec], bytes]
    decode: Callable[[bytes, TextCodec], Any]


class Tail(NamedTuple):
    """A variable part behind the fixed fields.

    `extent` says how its end is found: "counted" (another field holds the length in bytes), "zero" (a terminator),
    "rest" (all that is left), "sized" (always `size` bytes), "items" (another field counts structures of the class that
    `made` gives) or "struct" (one structure of class `made`). `encode` and `decode` are expressions over the value.
    """

    extent: Literal["counted", "zero", "rest", "gap", "payload", "setup", "sized", "items", "struct"]
    encode: str = "{}"
    decode: str = "bytes({})"
    codec: str = "text"
    prefix: bytes = b""
    """Buffer format byte in front of the value, [MS-CIFS] 2.2.1.4 SMB_STRING and friends."""
    coder: Coder | None = None
    """Used instead of `encode` and `decode`."""
    optional: bool = False
    aligned: bool = False
    size: int = 0
    made: Any = None
    """struct: the class. items: function from the structure decoded so far to the class."""


def _annotation(made: type[WireStruct], name: str) -> Any:  # noqa: ANN401 - whatever stands there
    """What a field is declared as. Nearly always one name, for which get_type_hints is a slow way to look."""
    owner, said = next((base, notes[name]) for base in made.__mro__ if name in (notes := get_annotations(base)))
    if not isinstance(said, str):
        return said
    known = vars(sys.modules[owner.__module__])
    return known[said] if said in known else get_type_hints(made, include_extras=True)[name]


class Writer:
    """Writes the source of one class's __init__, pack_into and unpack.

    In the generated code `pos` walks through the buffer, `end` is the end of the block, `t_X` is the encoded tail X,
    `n_X` its length and `o_X` its offset as the wire has them.
    """

    def __init__(self, made: type[WireStruct], *, framed: bool, words: int | None = None) -> None:
        self.made = made
        self.framed = framed
        self.tails: list[tuple[str, Tail]] = []
        self.align: dict[str, int] = {}
        self.lengths: dict[str, list[tuple[str, int, int]]] = {}
        self.offsets: dict[str, tuple[str, str, int]] = {}
        self.swapped: list[str] = []
        self.totals: set[str] = set()
        self.functions: dict[str, Any] = {}
        self.format = "<"
        self.values: list[str] = []
        self.targets: list[str] = []
        self.fields = fields(made)  # type: ignore[arg-type] # a dataclass, though the type does not say so
        for f in self.fields:
            self._add(f.name, _annotation(made, f.name).__metadata__[0], f.metadata)
        self.layout = struct.Struct(self.format)
        self.setup = next((name for name, tail in self.tails if tail.extent == "setup"), None)
        if framed and self.layout.size % 2:
            raise TypeError(f"{made.__name__}: parameter words have an odd size")
        for name, tail in self.tails:
            if tail.extent in ("counted", "payload", "items") and name not in self.lengths:
                raise TypeError(f"{made.__name__}.{name} has no length_of")
        if self.offsets.keys() - {self._after(name) for name, tail in self.tails if tail.extent == "gap"}:
            raise TypeError(f"{made.__name__}: a part with an offset needs a Gap in front")
        self.words = self.layout.size // 2 if words is None else words

    def _add(self, name: str, mark: Fixed | Tail, metadata: Mapping[str, Any]) -> None:
        if isinstance(mark, Tail):
            self.tails.append((name, mark))
            self.align[name] = metadata.get("align", 1)
            if mark.coder:
                self.functions |= {f"encode_{name}": mark.coder.encode, f"decode_{name}": mark.coder.decode}
            self.functions[f"made_{name}"] = mark.made
            return
        at = struct.calcsize(self.format)
        self.format += mark.code
        if "length_of" in metadata:
            of, unit, shift = metadata["length_of"]
            self.lengths.setdefault(of, []).append((name, unit, shift))
            self.values.append(_count(of, unit, shift, split=metadata["split"]))
            self.targets.append(f"w_{name}")
        elif "offset_of" in metadata:
            self.offsets[metadata["offset_of"]] = (name, mark.code, at)
            self.values.append(f"self.{name}")
            self.targets.append(f"self.{name}")
        elif "total_of" in metadata:
            self.totals.add(metadata["total_of"])
            self.values.append(f"self.{name} or len(t_{metadata['total_of']})")
            self.targets.append(f"self.{name}")
        elif mark.swapped:
            self.swapped.append(name)
            self.values.append(f"swap(self.{name})")
            self.targets.append(f"self.{name}")
        else:
            self.values.append(f"self.{name}")
            self.targets.append(f"self.{name}")

    def _after(self, name: str) -> str:
        names = [tail_name for tail_name, _ in self.tails]
        return names[names.index(name) + 1]

    # --- encoding

    def _encoded(self, name: str, tail: Tail) -> str:
        return f"encode_{name}(self.{name}, text)" if tail.coder else tail.encode.format(f"self.{name}")

    def _decoded(self, name: str, tail: Tail, raw: str) -> str:
        return f"decode_{name}(bytes({raw}), text)" if tail.coder else tail.decode.format(raw)

    def _encode(self) -> Iterator[str]:
        for name, tail in self.tails:
            if tail.extent in ("counted", "payload", "setup", "items"):
                yield f"t_{name} = {self._encoded(name, tail)}"
            elif name in self.totals:
                yield f"t_{name} = {tail.codec.split()[-1]}.encode(self.{name})"
        if self.framed:
            count = str(self.words) if not self.setup else f"{self.words} + len(t_{self.setup}) // 2"
            yield f"out.append({count})"
        yield "fixed = len(out)"
        if self.values:
            yield f"out += pack_fixed({', '.join(self.values)})"
        if self.setup:
            yield f"out += t_{self.setup}"
        if self.framed:
            yield "block = len(out)"
            yield "out += b'\\0\\0'"
        last = ""
        for name, tail in self.tails:
            yield from getattr(self, f"_encode_{tail.extent}")(name, tail)
            last = name if tail.extent == "payload" else last
        if self.framed:
            # Only file data may be longer than ByteCount can say; its length fields count then. [MS-SMB] 2.2.4.2.2.
            size = f"(len(out) - block - 2 + len(t_{last})) & 0xFFFF" if last else "len(out) - block - 2"
            yield f"pack_u16(out, block, {size})"
        yield f"return t_{last}" if last else "return None"

    def _encode_offset(self, name: str) -> Iterator[str]:
        if name in self.offsets:
            _, code, at = self.offsets[name]
            yield f"if t_{name}: pack_offset['{code}'](out, fixed + {at}, len(out))"

    def _encode_counted(self, name: str, tail: Tail) -> Iterator[str]:
        yield from self._encode_offset(name)
        if tail.aligned:
            yield "if text.width == 2 and len(out) & 1: out.append(0)"
        yield f"out += t_{name}"

    def _encode_payload(self, name: str, tail: Tail) -> Iterator[str]:
        yield from self._encode_offset(name)

    def _encode_setup(self, name: str, tail: Tail) -> Iterator[str]:
        yield from ()

    def _encode_items(self, name: str, tail: Tail) -> Iterator[str]:
        yield f"for item in t_{name}: item.pack_into(out, text)"

    def _encode_struct(self, name: str, tail: Tail) -> Iterator[str]:
        yield f"self.{name}.pack_into(out, text)"

    def _encode_sized(self, name: str, tail: Tail) -> Iterator[str]:
        yield f"if len(self.{name}) != {tail.size}:"
        yield f"    raise WireError('{self.made.__name__}.{name} must have {tail.size} bytes')"
        yield f"out += self.{name}"

    def _encode_rest(self, name: str, tail: Tail) -> Iterator[str]:
        yield f"out += {self._encoded(name, tail)}"

    def _encode_gap(self, name: str, tail: Tail) -> Iterator[str]:
        after = self._after(name)
        yield f"if self.{name} is not None: out += self.{name}"
        yield f"elif t_{after}: out += ZEROS[-len(out) % {self.align[name]}]"

    def _encode_zero(self, name: str, tail: Tail) -> Iterator[str]:
        codec = tail.codec.split()[-1]
        value = f"t_{name}" if name in self.totals else f"{codec}.encode(self.{name})"
        lines = [f"out += {value}; out += {codec}.terminator"]
        if tail.codec == "text":
            lines.insert(0, "if text.width == 2 and len(out) & 1: out.append(0)")
        if tail.prefix:
            lines.insert(0, f"out += {tail.prefix!r}")
        yield from _guarded(f"if self.{name} is not None:", lines) if tail.optional else lines

    # --- decoding

    def _decode(self) -> Iterator[str]:
        name = self.made.__name__
        yield "if end is None: end = len(buf)"
        if self.framed:
            yield "count = buf[pos]; pos += 1"
        if self.targets:
            yield f"{', '.join(self.targets)}, = unpack_fixed(buf, pos)"
        for swapped in self.swapped:
            yield f"self.{swapped} = swap(self.{swapped})"
        yield f"pos += {self.layout.size}"
        if not self.framed:
            yield f"if pos > end: raise WireError('{name} is cut short')"
        if self.setup:
            yield f"stop = pos + 2 * (count - {self.words})"
            yield f"if stop < pos or stop > end: raise WireError('{name}: setup words are cut short')"
            yield f"self.{self.setup} = bytes(buf[pos:stop]); pos = stop"
        if self.framed:
            yield "size, = unpack_u16(buf, pos); pos += 2"
            yield "if pos + size > end: raise WireError('" + name + ": ByteCount goes past the end')"
            yield "limit = end; end = pos + size"
        for tail_name, tail in self.tails:
            yield from getattr(self, f"_decode_{tail.extent}")(tail_name, tail)
        yield "return self"

    def _length(self, name: str) -> str:
        return " + ".join(_times(f"w_{of}", unit, shift) for of, unit, shift in self.lengths[name])

    def _decode_counted(self, name: str, tail: Tail) -> Iterator[str]:
        limit = "limit" if tail.extent == "payload" else "end"
        yield f"n = {self._length(name)}"
        if tail.aligned:
            yield "if n and text.width == 2 and pos & 1: pos += 1"
        yield "stop = pos + n"
        yield f"if stop > {limit}: raise WireError('{self.made.__name__}.{name} is cut short')"
        yield f"self.{name} = {self._decoded(name, tail, 'buf[pos:stop]')}; pos = stop"
        if tail.extent == "payload":
            yield "end = max(end, stop)"

    _decode_payload = _decode_counted

    def _decode_setup(self, name: str, tail: Tail) -> Iterator[str]:
        yield from ()

    def _decode_items(self, name: str, tail: Tail) -> Iterator[str]:
        yield f"made = made_{name}(self); stop = pos + ({self._length(name)}) * made.SIZE"
        yield f"if stop > end: raise WireError('{self.made.__name__}.{name} is cut short')"
        yield f"self.{name} = tuple(made.unpack(buf, at, stop, text) for at in range(pos, stop, made.SIZE)); pos = stop"

    def _decode_struct(self, name: str, tail: Tail) -> Iterator[str]:
        yield f"self.{name} = made_{name}.unpack(buf, pos, end, text); pos += made_{name}.SIZE"

    def _decode_sized(self, name: str, tail: Tail) -> Iterator[str]:
        yield f"stop = pos + {tail.size}"
        yield f"if stop > end: raise WireError('{self.made.__name__}.{name} is cut short')"
        yield f"self.{name} = bytes(buf[pos:stop]); pos = stop"

    def _decode_rest(self, name: str, tail: Tail) -> Iterator[str]:
        yield f"self.{name} = {self._decoded(name, tail, 'buf[pos:end]')}; pos = end"

    def _decode_gap(self, name: str, tail: Tail) -> Iterator[str]:
        """A gap ends where the next tail begins, and is none where that is empty: leftovers go to what follows.

        The offset of an empty tail means nothing, and servers write all sorts of things there.
        """
        after = self._after(name)
        limit = "limit" if dict(self.tails)[after].extent == "payload" else "end"
        yield f"self.{name} = None"
        yield f"if {self._length(after)}:"
        yield f"    stop = self.{self.offsets[after][0]}"
        yield f"    if not pos <= stop <= {limit}: raise WireError('{self.made.__name__}.{after}: bad offset')"
        yield "    raw = bytes(buf[pos:stop])"
        yield f"    if raw != ZEROS[-pos % {self.align[name]}]: self.{name} = raw"
        yield "    pos = stop"

    def _decode_zero(self, name: str, tail: Tail) -> Iterator[str]:
        codec = tail.codec.split()[-1]
        lines = []
        if tail.prefix:
            lines += [
                f"if bytes(buf[pos:pos + 1]) != {tail.prefix!r}:",
                f"    raise WireError('{self.made.__name__}.{name}: wrong buffer format')",
                "pos += 1",
            ]
        if tail.codec == "text":
            # A pad is zero. Something else there is the text itself, from a server that does not align (impacket's).
            lines.append("if text.width == 2 and pos & 1 and pos < end and not buf[pos]: pos += 1")
        lines += [
            "raw = bytes(buf[pos:end])",
            f"stop = {codec}.find_end(raw, 0, len(raw))",
            f"self.{name} = {codec}.decode(raw[:stop]); pos = min(pos + stop + {codec}.width, end)",
        ]
        if tail.optional:
            yield f"self.{name} = None"
        yield from _guarded("if pos < end:", lines) if tail.optional else lines

    # --- all of it

    def _initial(self) -> Iterator[str]:
        """__init__, as a dataclass has it."""
        parameters = []
        for f in self.fields:
            known = f.default is not MISSING
            if known:
                self.functions[f"default_{f.name}"] = f.default
            if f.init:
                parameters.append(f.name + f"=default_{f.name}" * known)
                yield f"self.{f.name} = {f.name}"
            elif known:
                yield f"self.{f.name} = default_{f.name}"
        yield f"{', '.join(parameters)}"

    def put_on(self, made: type[WireStruct]) -> None:
        """Let the class have its functions as soon as it needs them."""

        def init(self: WireStruct, **given: object) -> None:
            compiled()
            type(self).__init__(self, **given)

        def pack_into(self: WireStruct, out: bytearray, text: TextCodec = UNICODE) -> Buffer | None:
            compiled()
            return made.pack_into(self, out, text)

        def unpack(
            _: type[WireStruct], buf: Buffer, pos: int = 0, end: int | None = None, text: TextCodec = UNICODE
        ) -> WireStruct:
            compiled()
            return made.unpack(buf, pos, end, text)

        compiled = cache(partial(self._compile_into, made))
        made.SIZE = self.layout.size
        _put(made, {"__init__": init, "pack_into": pack_into, "unpack": unpack})

    def _compile_into(self, made: type[WireStruct]) -> None:
        source = "\n".join(self._source())
        where = f"<wire {made.__module__}.{made.__qualname__}>"
        linecache.cache[where] = (len(source), None, source.splitlines(keepends=True), where)
        space: dict[str, Any] = {
            **_SPACE,
            **self.functions,
            "pack_fixed": self.layout.pack,
            "unpack_fixed": self.layout.unpack_from,
        }
        exec(compile(source, where, "exec"), space)
        _put(made, space)

    def _source(self) -> Iterator[str]:
        name = self.made.__name__
        *body, parameters = self._initial()
        yield f"def __init__(self{', *, ' if parameters else ''}{parameters}):"
        yield from ("    " + line for line in [*body, "pass"])
        yield "def pack_into(self, out, text=UNICODE):"
        yield from _guarded("    try:", ["    " + line for line in self._encode()])
        yield "    except StructError as exc:"
        yield f"        raise WireError(f'{name}: a value does not fit: {{exc}}') from None"
        yield from ("def unpack(cls, buf, pos=0, end=None, text=UNICODE):", "    self = new(cls)", "    try:")
        yield from ("        " + line for line in self._decode())
        yield "    except (StructError, IndexError) as exc:"
        yield f"        raise WireError(f'{name}: {{exc}}') from None"


def _put(made: type[WireStruct], functions: Mapping[str, Any]) -> None:
    """Give a class the three functions."""
    made.__init__ = functions["__init__"]  # type: ignore[method-assign]
    made.pack_into = functions["pack_into"]  # type: ignore[method-assign]
    made.unpack = classmethod(functions["unpack"])  # type: ignore[assignment]


def _count(of: str, unit: int, shift: int, *, split: bool) -> str:
    count = f"len(t_{of})"
    if unit != 1:
        count += f" // {unit}"
    if shift:
        count += f" >> {shift}"
    return count + " & 0xFFFF" if split else count


def _times(count: str, unit: int, shift: int) -> str:
    factor = unit << shift
    return count if factor == 1 else f"{count} * {factor}"


def _guarded(condition: str, lines: list[str]) -> list[str]:
    return [condition, *("    " + line for line in lines)]


def _swap(value: int) -> int:
    high, low = value >> 32, value & 0xFFFF_FFFF
    if not 0 <= high <= 0xFFFF_FFFF:
        raise struct.error("number is not one of 64 bits")
    return low << 32 | high


_SPACE: Final[dict[str, Any]] = {
    "ASCII": ASCII,
    "StructError": struct.error,
    "UNICODE": UNICODE,
    "WireError": WireError,
    "ZEROS": [bytes(n) for n in range(16)],
    "new": object.__new__,
    "pack_offset": {"H": struct.Struct("<H").pack_into, "I": struct.Struct("<I").pack_into},
    "pack_u16": struct.Struct("<H").pack_into,
    "swap": _swap,
    "unpack_u16": struct.Struct("<H").unpack_from,
}
"""What every generated function may name."""
