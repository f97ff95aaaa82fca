"""Fixtures of the client's tests: the share `share` of the fake server and of smbd alike."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from smbfuse.client.session import open_session
from smbfuse.client.shares import connect_tree
from smbfuse.client.tree import ServerPath, Tree
from smbfuse.settings import Credentials, Secret, ServerSettings
from tests.fakes.background import running
from tests.fakes.server import FakeServer
from tests.fakes.volume import Node
from tests.samba.smbd import Smbd


@dataclass
class Place:
    """A server with the standard shares, and how to put files into its share `share` behind the client's back."""

    port: int
    server: FakeServer | Smbd

    def settings(self, share: str = "share") -> ServerSettings:
        return ServerSettings(
            host="127.0.0.1",
            share=share,
            port=self.port,
            credentials=Credentials(username="tester", password=Secret("correct horse 1")),
            # smbd offers them, and sizes follow; the fake server does not.
            unix_extensions=False,
        )

    def put(self, directory: str, names: list[str], content: bytes = b"") -> None:
        """Make files in a directory that is there."""
        if isinstance(self.server, Smbd):
            for name in names:
                (self.root / directory / name).write_bytes(content)
        else:
            at = self.server.volume.find(directory)
            for name in names:
                at.add(Node(name, data=bytearray(content)))

    def content(self, path: str) -> bytes:
        """What the server has under a path below the share, with `/`."""
        if isinstance(self.server, Smbd):
            return (self.root / path).read_bytes()
        return bytes(self.server.volume.find(path.replace("/", "\\")).data)

    @property
    def root(self) -> Path:
        assert isinstance(self.server, Smbd)
        return self.server.shares["share"].path


@dataclass
class Scratch:
    """A tree connect, and an empty directory on the share that is the test's own."""

    tree: Tree
    place: Place
    name: str

    def path(self, below: str = "") -> ServerPath:
        return ServerPath(f"\\{self.name}\\{below}".rstrip("\\"))

    def put(self, *names: str, content: bytes = b"") -> None:
        self.place.put(self.name, list(names), content)

    def content(self, below: str) -> bytes:
        return self.place.content(f"{self.name}/{below}")


@pytest.fixture(params=["fake", "samba"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "samba":
        server: Smbd = request.getfixturevalue("samba")
        yield Place(server.port, server)
        return
    with running(FakeServer()) as fake:
        yield Place(fake.port, fake.server)


@pytest.fixture
async def scratch(place: Place) -> AsyncIterator[Scratch]:
    async with trio.open_nursery() as nursery:
        session = await open_session(place.settings(), nursery)
        tree = await connect_tree(session, "share")
        name = f"scratch-{uuid.uuid4().hex[:12]}"
        await tree.create_directory(ServerPath(f"\\{name}"))
        yield Scratch(tree, place, name)
        nursery.cancel_scope.cancel()
    if isinstance(place.server, Smbd):
        shutil.rmtree(place.root / name)
