"""Reads the transcripts of a folder with html5lib, strictly: a parse error of the standard is an error here.

Prints each page's policy, texts and entries as JSON, sorted by name, and the hash of its style, which is in the policy.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path
from xml.etree.ElementTree import Element

import html5lib

KNOWN = set("html head meta title style body header nav main section h1 h2 p ol ul li a div img time q".split())
KNOWN |= {"fieldset", "legend", "label", "input"}


def text(element: Element | None) -> str | None:
    return None if element is None else "".join(element.itertext())


def said(line: Element) -> list[str | None]:
    link, q = line.find("a"), line.find("q")
    return [
        text(line.find(".//time")),
        None if link is None else link.get("href"),
        text(q),
        None if q is None else q.get("lang"),
    ]


def entry(li: Element) -> dict[str, object]:
    time, link, img = li.find(".//time"), li.find("div/a"), li.find(".//img")
    p = next((p for p in li.findall("div/p") if not p.get("class")), None)
    shown = [q for p in li.findall("div/p") if p.get("class") == "shown" for q in p.findall("q")]
    if any(q.get("lang") != "" for q in shown):
        raise SystemExit("a text on the screen has a language")
    picture = None
    if img is not None:
        if img.attrib.keys() != {"class", "src", "alt"} or (img.get("class"), img.get("alt")) != ("thumb", ""):
            raise SystemExit("a picture has other attributes")
        kind, data = img.attrib["src"].split(",", 1)
        jpeg = base64.b64decode(data, validate=True)
        picture = {"kind": kind, "sha256": hashlib.sha256(jpeg).hexdigest()}
    return {
        "time": None if time is None else [time.get("datetime"), text(time)],
        "href": None if link is None else link.get("href"),
        "picture": picture,
        "text": text(p),
        "lang": None if p is None else p.get("lang"),
        "shown": [text(q) for q in shown],
        "dialogue": [said(line) for line in li.findall("div/ul/li")],
    }


def read(path: Path) -> dict[str, object]:
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    page = parser.parse(path.read_bytes(), transport_encoding="utf-8")
    style = text(page.find(".//style")) or ""
    ids = {e.get("id") for e in page.iter() if e.get("id")}
    targets = [a.attrib["href"] for a in page.findall(".//nav//a")]
    if any(target.removeprefix("#") not in ids for target in targets):
        raise SystemExit("a link of the page leads nowhere")
    return {
        "lang": page.get("lang"),
        "title": text(page.find(".//title")),
        "heading": text(page.find(".//h1")),
        "intro": [text(p) for p in page.findall(".//header/p")],
        "policy": next(m.get("content") for m in page.iter("meta") if m.get("http-equiv") == "Content-Security-Policy"),
        "style": "sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        "strange": sorted({e.tag for e in page.iter()} - KNOWN),
        "attributes": sorted({a for e in page.iter() for a in e.attrib}),
        "view": [e.get("id") for e in page.iter("input") if e.get("checked") is not None],
        "contents": [text(a) for a in page.findall(".//nav//a")],
        "sections": [text(h) for h in page.iter("h2")],
        "entries": [entry(li) for li in page.findall(".//ol/li")],
    }


print(json.dumps([read(path) for path in sorted(Path(sys.argv[1]).glob("*.html"))]))
