"""Puts every object of a list and gets it back, with requests."""

import hashlib
import json
import sys
from urllib.parse import quote

import requests

base, objects = sys.argv[1], json.load(open(sys.argv[2]))
session = requests.Session()
session.trust_env = False
for number, entry in enumerate(objects):
    url = f"{base}/{quote(entry['key'], safe='/')}"
    body = bytes.fromhex(entry["body"])
    put = session.put(url, data=body)
    assert put.status_code in (200, 201), (entry["key"], put.status_code, put.text)
    assert put.content.decode() == entry["key"], (entry["key"], put.content)
    got = session.get(url)
    assert got.status_code == 200 and got.content == body, (entry["key"], got.status_code)
    assert got.headers["ETag"] == f'"{hashlib.md5(body).hexdigest()}"', entry["key"]
    head = session.head(url)
    assert head.headers["Content-Length"] == str(len(body)), entry["key"]
# All of them are listed, page by page, each page begun where the last one ended.
listed, start = [], ""
prefix = objects[0]["prefix"]
while True:
    page = session.get(f"{base}/{quote(prefix)}", params={"list": "", "limit": "7", "start": start}).json()
    listed += page["keys"]
    start = page["next"]
    if not start:
        break
assert listed == sorted((entry["key"] for entry in objects), key=str.encode), listed
for entry in objects:
    url = f"{base}/{quote(entry['key'], safe='/')}"
    assert session.delete(url).status_code == 204, entry["key"]
    gone = session.get(url)
    assert (gone.status_code, gone.text) == (404, "Key does not exist."), entry["key"]
print(f"{len(objects)} objects")
