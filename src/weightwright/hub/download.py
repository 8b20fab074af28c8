"""Files from a hub into the store: resumed where a download stopped, checked, put in place together.

A file arrives in `.incoming/` under its digest, so a half of one version is never continued with
another's; when all are whole and checked they move to their names and the manifest is written.
"""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from weightwright.errors import DownloadError
from weightwright.files import sync_file
from weightwright.hub.pickled import (
    CONVERTED_INDEX,
    INDEX,
    convert_all,
    converted_name,
    is_pickled,
    kept_name,
)
from weightwright.hub.store import Source, StoredFile, StoredModel, read_manifest, write_manifest
from weightwright.hub.weight_files import sha256_of
from weightwright.ports import Progress

INCOMING = ".incoming"
_SPARE_BYTES = 64 << 20  # left free on the disk
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on a hub: its size and the digest it must have (`git` is git's sha1 of a blob)."""

    name: str
    size_bytes: int
    digest: str
    kind: Literal["sha256", "git"]
    revision: str | None = None  # where it is of another commit than the repository's listing


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository's files at one commit."""

    hub_id: str
    commit: str
    files: tuple[RemoteFile, ...]


class Hub(Protocol):
    """A hub's client: what it lists and how it fetches. Both raise DownloadError with the remedy."""

    source: Source

    def listing(self, hub_id: str) -> Listing:
        """The repository's files at its newest commit."""
        ...

    def fetch(self, listing: Listing, file: RemoteFile, part: Path, moved: Callable[[int], None]) -> None:
        """Fetch a file into `part`, going on where it ends; `moved` is told of bytes as they come."""
        ...


def into_store(hub: Hub, listing: Listing, names: Sequence[str], folder: Path, progress: Progress) -> None:
    """Download `names` into `folder` unless they are there, check them, and write the manifest."""
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        incoming = folder / INCOMING
        incoming.mkdir(exist_ok=True)
        files = [file for file in listing.files if file.name in set(names)]
        held = _held(folder, listing)
        missing = [file for file in files if not _is_held(file, held, folder)]
        _require_space(folder, incoming, missing)
        _fetch_all(hub, listing, missing, incoming, progress)
        _put_in_place(hub, listing, files, missing, folder, held)
        shutil.rmtree(incoming)


def digest_of(file: Path, kind: Literal["sha256", "git"]) -> str:
    """A file's sha256, or git's sha1 of it as a blob, in hex."""
    if kind == "sha256":
        return sha256_of(file)
    digest = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
    with file.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _held(folder: Path, listing: Listing) -> dict[str, StoredFile]:
    """Files of the store's present version that may stay: of this commit, or with the same content."""
    stored = read_manifest(folder)
    return dict(stored.files) if stored is not None and stored.hub_id == listing.hub_id else {}


def _is_held(file: RemoteFile, held: dict[str, StoredFile], folder: Path) -> bool:
    known = held.get(kept_name(file.name))
    if known is not None and is_pickled(file.name):
        return file.kind == "sha256" and known.source_sha256 == file.digest
    if known is None or known.size_bytes != file.size_bytes:
        return False
    if file.kind == "sha256":
        return known.sha256 == file.digest
    return digest_of(folder / file.name, "git") == file.digest


def _require_space(folder: Path, incoming: Path, missing: Sequence[RemoteFile]) -> None:
    digests = {file.digest for file in missing}
    parts = [path for path in incoming.iterdir() if path.is_file() and path.stem in digests]
    needed = sum(file.size_bytes for file in missing) - sum(path.stat().st_size for path in parts)
    needed += sum(file.size_bytes for file in missing if is_pickled(file.name))  # beside its conversion
    free = shutil.disk_usage(folder).free
    if needed + _SPARE_BYTES > free:
        raise DownloadError(f"{needed / 1e9:.2f} GB are to be downloaded and {free / 1e9:.2f} GB are free "
                            f"at {folder}; "
                            "free some space or set WEIGHTWRIGHT_HOME to a larger disk")  # fmt: skip


def _fetch_all(
    hub: Hub, listing: Listing, missing: Sequence[RemoteFile], incoming: Path, progress: Progress
) -> None:
    total = sum(file.size_bytes for file in missing)
    done = 0
    for file in missing:
        whole = incoming / file.digest
        before = done

        def moved(bytes_: int, name: str = file.name) -> None:
            nonlocal done
            done += bytes_
            progress(done, total, name)

        if not whole.exists():
            part = incoming / f"{file.digest}.part"
            if part.exists() and part.stat().st_size > file.size_bytes:
                part.unlink()
            moved(part.stat().st_size if part.exists() else 0)
            hub.fetch(listing, file, part, moved)
            _check(listing, file, part)
            sync_file(part)
            part.replace(whole)
        done = before + file.size_bytes
        progress(done, total, file.name)


def _check(listing: Listing, file: RemoteFile, part: Path) -> None:
    """Refuse and remove a file that is not what the hub says it is."""
    actual = digest_of(part, file.kind)
    if actual != file.digest:
        size = part.stat().st_size
        part.unlink()
        raise DownloadError(
            f"{listing.hub_id}: {file.name} arrived damaged ({size:,} of {file.size_bytes:,} bytes, digest "
            f"{actual[:12]}… instead of {file.digest[:12]}…) and was removed; run the same command again"
        )


def _put_in_place(
    hub: Hub,
    listing: Listing,
    files: Sequence[RemoteFile],
    missing: Sequence[RemoteFile],
    folder: Path,
    held: dict[str, StoredFile],
) -> None:
    """Move whole files to their names; the manifest goes away first and comes back last."""
    from weightwright.hub.store import MANIFEST

    incoming = folder / INCOMING
    pickled = [file for file in missing if is_pickled(file.name)]
    plain = [file for file in missing if not is_pickled(file.name)]
    arriving = {file.name: incoming / file.digest for file in missing}
    index = arriving.get(INDEX) or next((folder / INDEX for file in files if file.name == INDEX), None)
    sources = {file.name: arriving[file.name] for file in pickled}
    every = [file.name for file in files if is_pickled(file.name)]
    made = convert_all(listing.hub_id, sources, every, incoming, index, folder)
    digests = {converted_name(file.name): file.digest for file in pickled if file.kind == "sha256"}
    stays = {name: file for name, file in held.items() if name.endswith(".gguf")}  # other quantisations
    stays |= {kept_name(file.name): held[kept_name(file.name)] for file in files if file not in missing}
    if not made and CONVERTED_INDEX in held and any(is_pickled(file.name) for file in files):
        stays[CONVERTED_INDEX] = held[CONVERTED_INDEX]
    arrived = {
        name: StoredFile(path.stat().st_size, sha256_of(path), digests.get(name))
        for name, path in made.items()
    }
    for file in plain:
        sha256 = file.digest if file.kind == "sha256" else sha256_of(incoming / file.digest)
        arrived[file.name] = StoredFile(file.size_bytes, sha256)
    (folder / MANIFEST).unlink(missing_ok=True)
    for name in set(held) - set(stays) - set(arrived):
        (folder / name).unlink()
    for file in plain:
        target = folder / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        source = incoming / file.digest
        if sum(other.digest == file.digest for other in plain) > 1:
            shutil.copyfile(source, target)  # two names, one content
        else:
            source.replace(target)
    for name, path in made.items():
        path.replace(folder / name)
    write_manifest(StoredModel(listing.hub_id, hub.source, listing.commit, folder, stays | arrived))
