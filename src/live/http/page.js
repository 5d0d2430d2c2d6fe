"use strict";
// Shows what /events reports. Text is only ever inserted as text.

const EARLIER = 20;
const ANNOUNCED = 5;
const STATES = { null: "Not connected", ready: "Connecting", paused: "Waiting for frames", playing: "Live" };
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

const connection = document.getElementById("connection");
const announcer = document.getElementById("announcer");
const template = document.getElementById("stream");
const cards = new Map();

function card(name) {
  let c = cards.get(name);
  if (c) return c;
  const root = template.content.firstElementChild.cloneNode(true);
  const find = (selector) => root.querySelector(selector);
  c = {
    root, name, last: -1, shown: null,
    word: find(".word"), img: find("img"), now: find(".now"), when: find(".when"), list: find("ol"),
    announced: find("input"), value: (key) => find("." + key),
  };
  const heading = find("h2");
  heading.textContent = name;
  heading.id = "stream-" + cards.size;
  root.setAttribute("aria-labelledby", heading.id);
  find("input").setAttribute("aria-describedby", heading.id);
  find(".earlier").setAttribute("aria-label", "Earlier, " + name);
  cards.set(name, c);
  document.getElementById("streams").append(root);
  return c;
}

const clock = (iso) => new Date(iso).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

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
  const older = [...c.list.children].find((other) => other.firstChild.dateTime <= iso);
  c.list.insertBefore(li, older ?? null);
  while (c.list.children.length > EARLIER) c.list.lastChild.remove();
}

function announce(c, text) {
  const p = document.createElement("p");
  p.textContent = cards.size > 1 ? c.name + ": " + text : text;
  announcer.append(p);
  while (announcer.children.length > ANNOUNCED) announcer.firstChild.remove();
}

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

function picture(c, e) {
  c.img.src = "/keyframe/" + e.index + ".jpg?n=" + e.number;
  c.img.alt = e.say;
  c.img.hidden = false;
}

function state(c, name, reason, ended) {
  c.root.dataset.state = ended ? "ended" : name;
  const why = reason ? ": " + (REASONS[reason] ?? reason) : "";
  const text = (ended ? "Ended" : STATES[name] ?? name) + why;
  if (c.word.textContent !== text) c.word.textContent = text;
}

function numbers(status) {
  for (const s of status.streams) {
    const c = card(s.name);
    state(c, s.state, s.reason, s.ended);
    const lag = s.lag.page;
    const set = (key, text) => { c.value(key).textContent = text; };
    set("lag", lag ? lag.p50.toFixed(1) + " s" : "–");
    set("most", lag ? lag.p95.toFixed(1) + " s" : "–");
    set("frames", s.frames.toLocaleString());
    set("captions", s.captions.toLocaleString());
    set("dropped", (s.frames_dropped.overload + s.frames_dropped.server).toLocaleString());
    set("reconnects", Object.values(s.reconnects).reduce((a, b) => a + b, 0).toLocaleString());
  }
}

function connected(status) {
  const words = { loading: "the model is loading", working: "the model works", failed: "the model has failed", hung: "the model hangs" };
  const text = "Connected; " + (words[status.model] ?? status.model);
  if (connection.textContent !== text) connection.textContent = text;
}

const events = new EventSource("/events");
const on = (kind, take) => events.addEventListener(kind, (e) => take(JSON.parse(e.data)));

let run = null;
on("snapshot", (e) => {
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
on("caption", (e) => caption(card(e.stream), e, true));
on("state", (e) => state(card(e.stream), e.state, e.reason, false));
const count = (n, one, many) => n + " " + (n === 1 ? one : many);
on("dropped", (e) => {
  const losses = [];
  if (e.keyframes > 0) losses.push(count(e.keyframes, "picture was", "pictures were") + " not described");
  if (e.frames > 0) losses.push(count(e.frames, "frame was", "frames were") + " not decoded");
  row(card(e.stream), e.at, losses.join(", ") + ": the machine is too busy", "loss");
});
on("end", (e) => state(card(e.stream), "null", null, true));
on("status", (e) => { numbers(e); connected(e); });
events.onerror = () => {
  connection.textContent = events.readyState === EventSource.CLOSED
    ? "Not connected. Load the page again."
    : "Connection to descry lost; trying again…";
};
