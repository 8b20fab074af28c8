"""The Hugging Face hub, through its own client: endpoint or mirror, token, proxy and offline mode are its."""

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from weightwright.errors import DownloadError
from weightwright.hub.download import Listing, RemoteFile
from weightwright.hub.pickled import is_pickled
from weightwright.hub.store import Source

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_log = logging.getLogger(__name__)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LIST_TIMEOUT_S = 30.0
_CONVERTER, _CONVERSION = "SFconvertbot", "Adding `safetensors` variant of this model"
_IDLE_TRIES = 5  # connections in a row that bring nothing, before giving up
_IDLE_WAIT_S = 1.0


class HuggingFace:
    """The hub at HF_ENDPOINT (default https://huggingface.co)."""

    source: Source = "huggingface"

    def listing(self, hub_id: str) -> Listing:
        """Names, sizes and digests of the newest commit. Raises DownloadError with the remedy."""
        try:
            api = _api()
            info = api.model_info(hub_id, files_metadata=True, timeout=_LIST_TIMEOUT_S)
            commit = str(info.sha)
            files = tuple(_remote(api, hub_id, commit, sibling) for sibling in info.siblings or ())
            files += _offered(api, hub_id, files)
        except (OSError, ValueError, _http_error()) as error:
            raise _explained(error, hub_id) from error
        return Listing(hub_id, commit, files)

    def fetch(self, listing: Listing, file: RemoteFile, part: Path, moved: Callable[[int], None]) -> None:
        """Fetch a file into `part`, asking only for what is missing in it, also after a dropped connection.

        The client's own downloads start again at zero in each process, hence the loop here over its session.
        """
        from huggingface_hub import constants, hf_hub_url

        revision = file.revision or listing.commit
        url = hf_hub_url(listing.hub_id, file.name, revision=revision, endpoint=constants.ENDPOINT)
        idle = 0
        try:
            with part.open("ab") as stream:
                while stream.tell() < file.size_bytes:
                    before = stream.tell()
                    try:
                        _continue(url, stream, moved)
                        if stream.tell() == before:
                            break  # the server has no more: the check will say what is wrong
                    except _transport_error():
                        idle = 0 if stream.tell() > before else idle + 1
                        if idle == _IDLE_TRIES:
                            raise
                        time.sleep(_IDLE_WAIT_S if idle else 0)
        except (OSError, ValueError, _http_error()) as error:
            raise _explained(error, listing.hub_id, file.name) from error


def _continue(url: str, stream: BinaryIO, moved: Callable[[int], None]) -> None:
    """One request for the rest of a file; a server that ignores Range sends it whole and it is kept whole."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    have = stream.tell()
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with get_session().stream(
        "GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
    ) as response:
        if response.status_code >= 400:
            response.read()
        hf_raise_for_status(response)
        if have and response.status_code != 206:
            stream.truncate(0)
            stream.seek(0)
            moved(-have)
        for block in response.iter_bytes():
            stream.write(block)
            moved(len(block))


def _api() -> "HfApi":
    from huggingface_hub import HfApi, constants

    return HfApi(endpoint=constants.ENDPOINT)


def _offered(api: "HfApi", hub_id: str, files: Sequence[RemoteFile]) -> tuple[RemoteFile, ...]:
    """The safetensors that the hub's own converter offers as a pull request, where a repository has only pickle.

    Only of a request that its bot opened, and whose pickle files are those of the repository as it is now. None where
    the hub does not tell, as mirrors may not: the pickle is converted here then.
    """
    pickled = {file.name: file.digest for file in files if is_pickled(file.name)}
    if not pickled or any(file.name.endswith((".safetensors", ".gguf")) for file in files):
        return ()
    try:
        return _conversion(api, hub_id, pickled)
    except (OSError, ValueError, KeyError, _http_error()) as error:
        _log.info("%s: no conversion is taken from %s (%s)", hub_id, api.endpoint, error)
        return ()


def _conversion(api: "HfApi", hub_id: str, pickled: Mapping[str, str]) -> tuple[RemoteFile, ...]:
    """The safetensors of the converter's request on pickle files of these digests."""
    for request in api.get_repo_discussions(
        hub_id, author=_CONVERTER, discussion_type="pull_request", discussion_status="open"
    ):
        if request.author != _CONVERTER or not request.is_pull_request or request.title != _CONVERSION:
            continue
        info = api.model_info(
            hub_id, revision=request.git_reference, files_metadata=True, timeout=_LIST_TIMEOUT_S
        )
        commit = str(info.sha)
        there = [_remote(api, hub_id, commit, sibling) for sibling in info.siblings or ()]
        if {file.name: file.digest for file in there if is_pickled(file.name)} == pickled:
            return tuple(
                replace(file, revision=commit)
                for file in there
                if file.name.endswith((".safetensors", ".safetensors.index.json"))
            )
    return ()


def _http_error() -> type[Exception]:
    """The root of what the client's HTTP library raises."""
    from huggingface_hub import errors

    root: type[Exception] = errors.HTTPError
    return root


def _transport_error() -> type[Exception]:
    """What the HTTP library raises when the connection, not the server, fails."""
    import httpx2

    return httpx2.TransportError


def _remote(api: "HfApi", hub_id: str, commit: str, sibling: Any) -> RemoteFile:
    """One listed file; mirrors that leave out sizes or digests are asked for each file's headers."""
    if sibling.lfs is not None and sibling.size is not None:
        return RemoteFile(sibling.rfilename, int(sibling.size), sibling.lfs.sha256, "sha256")
    if sibling.blob_id is not None and sibling.size is not None:
        return RemoteFile(sibling.rfilename, int(sibling.size), sibling.blob_id, "git")
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(hub_id, sibling.rfilename, revision=commit, endpoint=api.endpoint)
    head = get_hf_file_metadata(url, endpoint=api.endpoint, timeout=_LIST_TIMEOUT_S)
    if head.etag is None or head.size is None:
        raise DownloadError(f"{api.endpoint} says neither size nor checksum of {sibling.rfilename}; "
                            "set HF_ENDPOINT to another mirror")  # fmt: skip
    kind: Literal["sha256", "git"] = "sha256" if _SHA256.fullmatch(head.etag) else "git"
    return RemoteFile(sibling.rfilename, head.size, head.etag, kind)


def _explained(error: Exception, hub_id: str, name: str = "") -> DownloadError:
    """The client's error as one line with its remedy."""
    from huggingface_hub import constants, errors

    endpoint = constants.ENDPOINT
    what = f"{hub_id}/{name}" if name else hub_id
    if isinstance(error, errors.OfflineModeIsEnabled):
        return DownloadError(f"{what} is not on this machine and HF_HUB_OFFLINE forbids downloads; unset "
                             f"it, or copy "
                             "the model's folder here and give its path")  # fmt: skip
    if isinstance(error, errors.GatedRepoError):
        return DownloadError(f"{hub_id} is gated; accept its terms at {endpoint}/{hub_id} and set "
                             f"HF_TOKEN to a token "
                             "of that account")  # fmt: skip
    if isinstance(error, errors.RepositoryNotFoundError):
        return DownloadError(f"{endpoint} has no model {hub_id}, or it is private; check the spelling, or "
                             f"set HF_TOKEN "
                             f"(a local folder is written ./{hub_id})")  # fmt: skip
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return DownloadError(f"{endpoint} refused access to {what} (HTTP {status}); set HF_TOKEN to a "
                                 f"valid token "
                                 "with read access")  # fmt: skip
        return DownloadError(f"{endpoint} answered HTTP {status} for {what}; try again later, or another "
                             f"mirror with "
                             "HF_ENDPOINT")  # fmt: skip
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return DownloadError(
            f"{error.filename}: {error.strerror}; free space or set WEIGHTWRIGHT_HOME elsewhere"
        )
    if isinstance(error, OSError) and error.errno == 28:
        return DownloadError(
            f"the disk is full while {what} arrives; free some space and run the same command again"
        )
    reason = str(error).strip().split("\n", maxsplit=1)[0] or type(error).__name__
    if name:
        return DownloadError(f"the download of {what} was cut off ({reason}); run the same command again, "
                             f"it goes on "
                             "where it stopped")  # fmt: skip
    return DownloadError(f"cannot reach {endpoint} for {what} ({reason}); check the network and "
                         f"HTTPS_PROXY, or set "
                         "HF_ENDPOINT to a mirror, or pull --from modelscope")  # fmt: skip
