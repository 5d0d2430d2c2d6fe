"""Reads a page of search results with html5lib, strictly: a parse error of the standard is an error here.

Prints the page's policy, title, texts and results as JSON, and the hash of its style, which the policy must name.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

import html5lib

parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
page = parser.parse(Path(sys.argv[1]).read_bytes(), transport_encoding="utf-8")

known = set("html head meta title style body main h1 h2 p ol li a img span br".split())
elements = list(page.iter())
strange = sorted({e.tag for e in elements if e.tag not in known})
attributes = sorted({a for e in elements for a in e.attrib})
results = []
for li in page.iter("li"):
    link = li.find(".//a")
    img = li.find(".//img")
    picture = None
    if img is not None:
        kind, data = img.get("src").split(",", 1)
        digest = hashlib.sha256(base64.b64decode(data, validate=True)).hexdigest()
        picture = {"kind": kind, "sha256": digest, "alt": img.get("alt")}
    results.append(
        {
            "href": None if link is None else link.get("href"),
            "heading": "".join(li.find(".//h2").itertext()),
            "texts": ["".join(p.itertext()) for p in li.iter("p")],
            "picture": picture,
        }
    )
style = page.find(".//style").text
print(
    json.dumps(
        {
            "lang": page.get("lang"),
            "title": page.find(".//title").text,
            "heading": "".join(page.find(".//h1").itertext()),
            "policy": next(
                m.get("content") for m in page.iter("meta") if m.get("http-equiv") == "Content-Security-Policy"
            ),
            "style": "sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
            "strange": strange,
            "attributes": attributes,
            "results": results,
        }
    )
)
