"""Reads the DAPT scripts of a folder with Python's XML parser; prints them as JSON, sorted by name.

An element that no script of descry has, or one in a place that DAPT does not allow, is an error.
"""

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

TT = "{http://www.w3.org/ns/ttml}"
TTM = "{http://www.w3.org/ns/ttml#metadata}"
DAPTM = "{http://www.w3.org/ns/ttml/profile/dapt#metadata}"
REPRESENTS, SCRIPT_REPRESENTS = f"{DAPTM}represents", f"{DAPTM}scriptRepresents"
SOURCE = "{urn:ebu:tt:metadata}sourceMediaIdentifier"


def children(element: ElementTree.Element, *known: str) -> list[ElementTree.Element]:
    """The children of an element, which must have no text of its own."""
    texts = [element.text, *(child.tail for child in element)]
    if any((text or "").strip() for text in texts) or any(child.tag not in known for child in element):
        raise SystemExit(f"unexpected content in {element.tag}")
    return list(element)


def read(path: Path) -> dict[str, object]:
    root = ElementTree.fromstring(path.read_bytes())
    head, body = children(root, f"{TT}head", f"{TT}body")
    (metadata,) = children(head, f"{TT}metadata")
    children(metadata, f"{TTM}title", f"{TTM}desc", SOURCE)
    events: list[dict[str, object]] = []
    ids = set()
    for div in children(body, f"{TT}div"):
        (p,) = children(div, f"{TT}p")
        spans = list(p)
        if p.attrib or any(span.tag != f"{TT}span" or len(span) or not span.text for span in spans):
            raise SystemExit("a text has parts of another kind")
        ids.add(div.attrib["{http://www.w3.org/XML/1998/namespace}id"])
        events.append(
            {"begin": div.get("begin"), "end": div.get("end"), "text": "".join(p.itertext()), "attributes": div.attrib}
        )
        if spans:
            events[-1]["spans"] = [[span.text, span.attrib] for span in spans]
    if len(ids) != len(events):
        raise SystemExit("two events have one identifier")
    represented = {e.get(REPRESENTS) for e in body.iter() if e.get(REPRESENTS)}
    if not represented <= set(root.get(SCRIPT_REPRESENTS, "").split()):
        raise SystemExit("an event represents what the script does not")
    return {
        "root": root.tag,
        "attributes": root.attrib,
        "title": metadata.findtext(f"{TTM}title"),
        "source": metadata.findtext(SOURCE),
        "about": [desc.text for desc in metadata.findall(f"{TTM}desc")],
        "events": events,
    }


print(json.dumps([read(path) for path in sorted(Path(sys.argv[1]).glob("*.ttml"))]))
