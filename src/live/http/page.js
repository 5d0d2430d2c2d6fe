// Shows what /events reports. Text is only ever inserted as text.

/** @import {CaptionEvent, DroppedEvent, LiveEvent, Snapshot, StateEvent, Status} from "./types.d.ts" */

const EARLIER = 20;
const ANNOUNCED = 5;
/** @type {Record<string, string>} */
const STATES = { null: "Not connected", ready: "Connecting", paused: "Waiting for frames", playing: "Live" };
/** @type {Record<string, string>} */
const REASONS = {
  "not-found": "not found",
  "not-authorized": "wrong user name or password",
  "open-read": "nothing answers",
  "read": "connection lost",
  "timeout": "nothing arrived for too long",
  "eos": "the source ended",
  "decode": "cannot be decoded",
  "wrong-type": "no video in it",
  "stopped": "stopped",
};

/**
 * The first element inside another one that a selector finds.
 * @template {Element} T
 * @param {ParentNode} inside
 * @param {string} selector
 * @param {new () => T} kind
 */
function find(inside, selector, kind) {
  const element = inside.querySelector(selector);
  if (!(element instanceof kind)) throw new Error("The page has no " + selector + ".");
  return element;
}

const connection = find(document, "#connection", HTMLElement);
const announcer = find(document, "#announcer", HTMLElement);
const template = find(find(document, "#stream", HTMLTemplateElement).content, "article", HTMLElement);

/** A stream as the page shows it. */
class Card {
  /** @param {string} name */
  constructor(name) {
    this.name = name;
    const root = (this.root = /** @type {HTMLElement} */ (template.cloneNode(true)));
    /** The number of its latest caption. */
    this.last = -1;
    /** Its latest caption. @type {CaptionEvent | null} */
    this.shown = null;
    this.word = find(root, ".word", HTMLElement);
    this.img = find(root, "img", HTMLImageElement);
    this.now = find(root, ".now", HTMLElement);
    this.when = find(root, ".when", HTMLElement);
    this.list = find(root, "ol", HTMLOListElement);
    this.announced = find(root, "input", HTMLInputElement);
    const heading = find(root, "h2", HTMLHeadingElement);
    heading.textContent = name;
    heading.id = "stream-" + cards.size;
    root.setAttribute("aria-labelledby", heading.id);
    this.announced.setAttribute("aria-describedby", heading.id);
    find(root, ".earlier", HTMLElement).setAttribute("aria-label", "Earlier, " + name);
  }

  /** @param {string} key @param {string} text */
  set(key, text) {
    find(this.root, "." + key, HTMLElement).textContent = text;
  }
}

/** @type {Map<string, Card>} */
const cards = new Map();

/** The card of a stream. @param {string} name */
function card(name) {
  const known = cards.get(name);
  if (known) return known;
  const made = new Card(name);
  cards.set(name, made);
  find(document, "#streams", HTMLElement).append(made.root);
  return made;
}

/** @param {string} iso */
const clock = (iso) => new Date(iso).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

/** @param {Card} c @param {string} iso @param {string} text @param {string} [kind] */
function row(c, iso, text, kind) {
  const li = document.createElement("li");
  const time = document.createElement("time");
  time.dateTime = iso;
  time.textContent = clock(iso);
  const span = document.createElement("span");
  span.textContent = text;
  if (kind) li.className = kind;
  li.append(time, span);
  // The newest first. A loss is reported while the caption before it is still shown above the list.
  const older = [...c.list.children].find((other) => find(other, "time", HTMLTimeElement).dateTime <= iso);
  c.list.insertBefore(li, older ?? null);
  while (c.list.children.length > EARLIER) c.list.lastChild?.remove();
}

/** @param {Card} c @param {string} text */
function announce(c, text) {
  const p = document.createElement("p");
  p.textContent = cards.size > 1 ? c.name + ": " + text : text;
  announcer.append(p);
  while (announcer.children.length > ANNOUNCED) announcer.firstChild?.remove();
}

/** @param {Card} c @param {CaptionEvent} e @param {boolean} isNew */
function caption(c, e, isNew) {
  // After a reconnection the server repeats what is known already.
  if (e.number <= c.last || !e.say) return;
  c.last = e.number;
  if (c.shown) row(c, c.shown.wall, c.shown.say);
  c.shown = e;
  c.now.textContent = e.say;
  c.when.textContent = clock(e.wall) + (e.returning ? " · seen before" : "");
  if (isNew) {
    c.now.classList.remove("fresh");
    void c.now.offsetWidth;
    c.now.classList.add("fresh");
    if (c.announced.checked) announce(c, e.say);
  }
  if (e.picture) picture(c, e);
}

/** @param {Card} c @param {CaptionEvent} e */
function picture(c, e) {
  c.img.src = "/keyframe/" + e.index + ".jpg?n=" + e.number;
  c.img.alt = e.say;
  c.img.hidden = false;
}

/** @param {Card} c @param {string} name @param {string | null} reason @param {boolean} ended */
function state(c, name, reason, ended) {
  c.root.dataset.state = ended ? "ended" : name;
  const why = reason ? ": " + (REASONS[reason] ?? reason) : "";
  const text = (ended ? "Ended" : STATES[name] ?? name) + why;
  if (c.word.textContent !== text) c.word.textContent = text;
}

/** @param {Status} status */
function numbers(status) {
  for (const s of status.streams) {
    const c = card(s.name);
    state(c, s.state, s.reason, s.ended);
    const lag = s.lag.page;
    c.set("lag", lag ? lag.p50.toFixed(1) + " s" : "–");
    c.set("most", lag ? lag.p95.toFixed(1) + " s" : "–");
    c.set("frames", s.frames.toLocaleString());
    c.set("captions", s.captions.toLocaleString());
    c.set("dropped", (s.frames_dropped.overload + s.frames_dropped.server).toLocaleString());
    c.set("reconnects", Object.values(s.reconnects).reduce((a, b) => a + b, 0).toLocaleString());
  }
}

/** @param {Status} status */
function connected(status) {
  /** @type {Record<string, string>} */
  const words = { loading: "the model is loading", working: "the model works", failed: "the model has failed", hung: "the model hangs" };
  const text = "Connected; " + (words[status.model] ?? status.model);
  if (connection.textContent !== text) connection.textContent = text;
}

const events = new EventSource("/events");
/** @template T @param {string} kind @param {(event: T) => void} take */
const on = (kind, take) =>
  events.addEventListener(kind, (e) => take(JSON.parse(/** @type {MessageEvent<string>} */ (e).data)));

/** @type {string | number | null} */
let run = null;
on("snapshot", (/** @type {Snapshot} */ e) => {
  // A restarted descry counts from 0 again.
  if (run !== null && run !== e.run) {
    for (const c of cards.values()) c.last = -1;
  }
  run = e.run;
  for (const s of e.streams) {
    const c = card(s.name);
    state(c, s.state, s.reason, s.ended);
    for (const earlier of s.captions) caption(c, earlier, false);
  }
  numbers(e.status);
  connected(e.status);
});
on("caption", (/** @type {CaptionEvent} */ e) => caption(card(e.stream), e, true));
on("state", (/** @type {StateEvent} */ e) => state(card(e.stream), e.state, e.reason, false));
/** @param {number} n @param {string} one @param {string} many */
const count = (n, one, many) => n + " " + (n === 1 ? one : many);
on("dropped", (/** @type {DroppedEvent} */ e) => {
  const losses = [];
  if (e.keyframes > 0) losses.push(count(e.keyframes, "picture was", "pictures were") + " not described");
  if (e.frames > 0) losses.push(count(e.frames, "frame was", "frames were") + " not decoded");
  row(card(e.stream), e.at, losses.join(", ") + ": the machine is too busy", "loss");
});
on("end", (/** @type {LiveEvent} */ e) => state(card(e.stream), "null", null, true));
on("status", (/** @type {Status} */ e) => { numbers(e); connected(e); });
events.onerror = () => {
  connection.textContent = events.readyState === EventSource.CLOSED
    ? "Not connected. Load the page again."
    : "Connection to descry lost; trying again…";
};
