"""ModelScope, through its own client (extra `modelscope`)."""

import functools
import hashlib
import importlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from weightwright.errors import DownloadError
from weightwright.extras import require
from weightwright.hub.download import Listing, RemoteFile
from weightwright.hub.store import Source

_REVISION = "master"  # ModelScope's name of the newest version


class ModelScope:
    """The hub at MODELSCOPE_ENDPOINT (default https://modelscope.cn)."""

    source: Source = "modelscope"

    def __init__(self) -> None:
        self._client = require("modelscope_hub", extra="modelscope")
        self._api: Any = self._client.HubApi()
        logging.getLogger("modelscope_hub").setLevel(logging.ERROR)  # what fails is said once, by us

    def listing(self, hub_id: str) -> Listing:
        """Names, sizes and digests of the newest version. Raises DownloadError with the remedy."""
        try:
            infos = self._api.list_repo_files(hub_id, "model", revision=_REVISION)
        except (OSError, ValueError, self._client.HubError) as error:
            raise self._explained(error, hub_id) from error
        files = tuple(
            RemoteFile(info.path, info.size, info.sha256, "sha256")
            for info in infos
            if not info.is_dir and info.sha256
        )
        lines = "".join(f"{file.name} {file.digest}\n" for file in files)
        return Listing(hub_id, hashlib.sha256(lines.encode()).hexdigest()[:40], files)

    def fetch(self, listing: Listing, file: RemoteFile, part: Path, moved: Callable[[int], None]) -> None:
        """Fetch a file into `part`; the client keeps its own half-way file beside and goes on from it."""
        beside = part.with_suffix(".modelscope")
        from tqdm import tqdm

        downloads: Any = importlib.import_module("modelscope_hub._download")
        shown = downloads.tqdm
        downloads.tqdm = functools.partial(tqdm, disable=True)  # one bar is enough: the caller's
        try:
            arrived = self._api.downloader.download_file(
                listing.hub_id,
                "model",
                file.name,
                revision=_REVISION,
                local_dir=beside,
                file_size=file.size_bytes,
                progress_callbacks=[_reporter(moved)],
            )
        except (OSError, ValueError, self._client.HubError) as error:
            raise self._explained(error, f"{listing.hub_id}/{file.name}") from error
        finally:
            downloads.tqdm = shown
        Path(arrived).replace(part)

    def _explained(self, error: Exception, what: str) -> DownloadError:
        """The client's error as one line with its remedy."""
        from modelscope_hub import errors

        endpoint = self._api.legacy.endpoint
        reason = str(error).strip().split("\n", maxsplit=1)[0] or type(error).__name__
        if isinstance(error, errors.NotExistError):
            return DownloadError(
                f"{endpoint} has no {what}; check the spelling, or pull it without --from modelscope"
            )
        if isinstance(error, errors.AuthenticationError | errors.PermissionDeniedError):
            return DownloadError(
                f"{endpoint} refused access to {what}; set MODELSCOPE_API_TOKEN to a valid token"
            )
        if isinstance(error, errors.FileIntegrityError):
            return DownloadError(f"{what} arrived damaged ({reason}); run the same command again")
        if isinstance(error, errors.NetworkError):
            return DownloadError(f"cannot reach {endpoint} for {what}; check the network and HTTPS_PROXY, "
                                 "then run the same command again")  # fmt: skip
        return DownloadError(f"cannot download {what} from {endpoint} ({reason}); check the network and "
                             f"HTTPS_PROXY, "
                             "then run the same command again")  # fmt: skip


def _reporter(moved: Callable[[int], None]) -> Any:
    """The class of which the client makes one object for each file."""

    class Reporter:
        def __init__(self, filename: str, file_size: int) -> None:
            del filename, file_size

        def update(self, size: int) -> None:
            moved(size)

        def end(self) -> None:
            pass

    return Reporter
