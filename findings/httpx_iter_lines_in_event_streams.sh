#!/usr/bin/env bash
# httpx 0.28.1: Response.iter_lines() ends lines at U+2028, U+2029, U+0085, \v, \f, \x1c-\x1e, as str.splitlines does.
# A server-sent event ends at \n, \r or \r\n only (WHATWG HTML, 9.2.6), and JSON allows U+2028 unescaped in a string
# (RFC 8259, 7; ECMA-404), so a streamed chat answer that holds one is torn into two lines, of which neither is JSON.
# Seen: the one event {"content": "a<U+2028>b"} comes out as 2 lines; read by bytes and cut at \n it is whole.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check httpx==0.28.1
"$folder/venv/bin/python" - <<'PY'
import json

import httpx

event = json.dumps({"content": "a\u2028b"}, ensure_ascii=False)
body = f"data: {event}\n\n".encode()
response = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=body)
torn = [line for line in response.iter_lines() if line]
whole = [line for line in body.decode().split("\n") if line]
print("httpx", httpx.__version__, "lines:", torn)
assert len(whole) == 1 and json.loads(whole[0].removeprefix("data: ")) == {"content": "a\u2028b"}
assert torn == ['data: {"content": "a', 'b"}'], "the behaviour has changed"
PY
