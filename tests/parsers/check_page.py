"""Reads a page of search results with html5lib, strictly: what the standard calls a parse error ends it. Prints the page's
policy, title, texts and results as JSON; the hash of its style, so that the policy can be checked against it."""

import base64
import hashlib
import json
import sys

import html5lib

with open(sys.argv[1], "rb") as f:
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    page = parser.parse(f.read(), transport_encoding="utf-8")

known = {"html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "ol", "li", "a", "img", "span", "br"}
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
        picture = {"kind": kind, "sha256": hashlib.sha256(base64.b64decode(data, validate=True)).hexdigest(), "alt": img.get("alt")}
    results.append({
        "href": None if link is None else link.get("href"),
        "heading": "".join(li.find(".//h2").itertext()),
        "texts": ["".join(p.itertext()) for p in li.iter("p")],
        "picture": picture,
    })
style = page.find(".//style").text
print(json.dumps({
    "lang": page.get("lang"),
    "title": page.find(".//title").text,
    "heading": "".join(page.find(".//h1").itertext()),
    "policy": next(m.get("content") for m in page.iter("meta") if m.get("http-equiv") == "Content-Security-Policy"),
    "style": "sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    "strange": strange,
    "attributes": attributes,
    "results": results,
}))
