// Puts the parts together: what keys and buttons do, and what the page shows then.

import { Film } from "./film.js";
import { explain, listen } from "./keys.js";
import { CueList } from "./list.js";
import * as server from "./server.js";
import { Review, TICK, clock, exact, seconds } from "./state.js";
import { TimelineView } from "./timeline.js";

const $ = (id) => document.getElementById(id);
/** How long after the last key what was typed is sent, in milliseconds. */
const PAUSE = 400;

const video = $("video");
const fields = { start: $("start"), end: $("end"), text: $("text"), note: $("note") };
let review;
let film;
let list;
let timeline;
/** What was typed and is not sent yet, and the change that it continues. */
let typing = null;
let continued = null;

const who = () => localStorage.getItem("descry-editor") ?? "";
const seen = (cue) => ({ id: cue.id, version: cue.version });

function say(words) {
  $("announcer").textContent = words;
}

function notice(words) {
  $("notice").textContent = words;
  $("notice").hidden = !words;
}

function saved(words, state) {
  const element = $("saved");
  element.textContent = words;
  element.dataset.state = state;
}

// ---- edits

/** Sends an edit that `make` gives when its turn has come. Returns the report, or undefined if it was refused. */
async function send(make, words) {
  let made = null;
  saved("Saving…", "busy");
  try {
    const report = await server.edit(() => (made = make()), who());
    if (!report) {
      saved("Saved", "good");
      return undefined;
    }
    if (report.change) {
      review.remember(report.revision, report.change.what, report.replaced);
      took(report);
    }
    if (!unwritten) {
      saved("Saved", "good");
      notice("");
    }
    if (words) say(words);
    return report;
  } catch (e) {
    refused(e, made, make);
    return undefined;
  }
}

function refused(e, made, make) {
  if (e instanceof server.Refused && e.status === 409) {
    conflict(e.body, made);
    saved("Not saved: somebody has changed this", "bad");
  } else if (e instanceof server.Refused && e.status === 422) {
    notice(e.message);
    saved("Not changed", "wait");
    showEditor();
  } else {
    notice("Not saved: descry does not answer. What you typed is still here. " + (e.message ?? ""));
    saved("Not saved", "bad");
    unsent = make;
  }
}

/** What could not be sent because descry did not answer. */
let unsent = null;

/** Takes what has changed into the page. */
function took(report) {
  const touched = review.change(report);
  if (touched.length === 0 && !report.glossary && report.notes === undefined) return;
  refresh(touched);
}

function refresh(touched) {
  const shown = new Set([...list.rows.keys()]);
  const cues = review.listed($("order").value, $("filter").value);
  const same = cues.length === shown.size && cues.every((cue, n) => Number(list.list.children[n]?.dataset.id) === cue.id);
  for (const id of touched) list.update(id);
  if (!same) list.show(cues);
  if (review.selected === null && cues.length) review.selected = nearest(cues).id;
  list.select(review.selected, false);
  if (touched.includes(review.selected) || !review.current()) showEditor();
  timeline.draw();
  counts();
}

/** The cue at the position of the film, or before it. */
function nearest(cues) {
  return [...cues].reverse().find((cue) => cue.start <= film.time) ?? cues[0];
}

function counts() {
  const checked = review.cues.filter((cue) => cue.checked).length;
  const warned = review.cues.filter((cue) => review.facts.get(cue.id).warnings.length).length;
  $("progress").textContent = `${review.cues.length} cues, ${checked} checked, ${warned} with warnings`;
  $("undo").disabled = review.done.length === 0;
  $("redo").disabled = review.undone.length === 0;
}

function change(id, to) {
  return send(() => {
    const cue = review.cue(id);
    return cue && { do: "change", cue: seen(cue), to };
  });
}

// ---- the editor of one cue

function showEditor() {
  const cue = review.current();
  $("editor").hidden = !cue;
  if (!cue) return;
  const at = review.place(cue.id);
  $("editor-title").textContent = `Cue ${at + 1} of ${review.cues.length}`;
  const put = (field, value) => {
    if (document.activeElement !== field && field.value !== value) field.value = value;
  };
  put(fields.start, exact(cue.start));
  put(fields.end, exact(cue.end));
  if (!typing) {
    if (fields.text.value !== cue.text) fields.text.value = cue.text;
    put(fields.note, cue.note ?? "");
  }
  $("check").textContent = cue.checked ? "Not checked" : "Check";
  const said = cue.machine && cue.machine.text !== cue.text ? "The machine said: " + cue.machine.text : "";
  $("machine").textContent = said;
  limits();
}

function limits() {
  const cue = review.current();
  if (!cue) return;
  const { reading, speaking } = review.times(fields.text.value);
  const lasts = cue.end - cue.start;
  const parts = [`${[...fields.text.value].length} characters`];
  parts.push(`reads in ${reading.toFixed(1)} s of ${lasts.toFixed(1)} s`, `spoken in ${speaking.toFixed(1)} s`);
  const pause = pauseFrom(cue.start);
  if (pause !== null) parts.push(pause > 0 ? `pause of ${pause.toFixed(1)} s` : "somebody talks here");
  $("limits").textContent = parts.join(" · ");
  $("limits").classList.toggle("over", reading > lasts || (pause !== null && speaking > pause + 0.2));
}

function pauseFrom(time) {
  const { speech } = review.timeline;
  if (!speech) return null;
  const next = speech.find((s) => s.end > time);
  return next ? Math.max(0, next.start - time) : (review.film.duration ?? Infinity) - time;
}

function typed() {
  const cue = review.current();
  if (!cue) return;
  typing = { id: cue.id, text: fields.text.value, note: fields.note.value };
  saved("Typing…", "busy");
  limits();
  clearTimeout(typed.later);
  typed.later = setTimeout(flush, PAUSE);
}

/** Sends what was typed. */
async function flush() {
  clearTimeout(typed.later);
  if (!typing) return;
  const { id, text, note } = typing;
  const sent = typing;
  const report = await send(() => {
    const cue = review.cue(id);
    if (!cue) return null;
    const to = {};
    if (cue.text !== text) to.text = text;
    if ((cue.note ?? "") !== note) to.note = note;
    if (Object.keys(to).length === 0) return null;
    const edit = { do: "change", cue: seen(cue), to };
    if (continued?.id === id) edit.continues = continued.revision;
    return edit;
  });
  if (report?.change) continued = { id, revision: report.revision };
  if (typing === sent) typing = null;
}

// ---- what keys and buttons do

function select(id, focus) {
  if (id === review.selected && !focus) return;
  flush();
  continued = null;
  typing = null;
  review.selected = id;
  list.select(id, focus);
  $("candidates").hidden = true;
  const cue = review.current();
  if (cue && (film.time < cue.start || film.time >= cue.end)) film.seek(cue.start + TICK);
  showEditor();
  timeline.show(film.time);
}

function step(by) {
  const cues = review.listed($("order").value, $("filter").value);
  const at = cues.findIndex((cue) => cue.id === review.selected);
  const to = cues[Math.min(Math.max(at + by, 0), cues.length - 1)];
  if (to) select(to.id, true);
}

/** Goes to the next cue that has something, from the selected one on, round the end. */
function find(has, words) {
  const at = review.place(review.selected);
  const { cues } = review;
  for (let n = 1; n <= cues.length; n++) {
    const cue = cues[(at + n) % cues.length];
    if (has(cue)) {
      if (!list.rows.has(cue.id)) show("all");
      select(cue.id, true);
      return;
    }
  }
  say(words);
}

function show(filter) {
  $("filter").value = filter;
  list.show(review.listed($("order").value, filter));
}

let playUntil = null;

const withCue = (act) => () => {
  const cue = review.current();
  if (cue) act(cue);
};

/** Where a text is divided: at the cursor, or else in its middle. */
function halves(text) {
  const cursor = document.activeElement === fields.text ? fields.text.selectionStart : 0;
  const words = text.split(/\s+/);
  if (cursor > 0 && cursor < text.length) return [text.slice(0, cursor), text.slice(cursor)];
  const half = Math.ceil(words.length / 2);
  return [words.slice(0, half).join(" "), words.slice(half).join(" ")];
}

const act = {
  select,
  seek: (time) => film.seek(time),
  move: (id, { start, end }) => change(id, { start: round(start), end: round(end) }),
  next: () => step(1),
  previous: () => step(-1),
  first: () => step(-Infinity),
  last: () => step(Infinity),
  warned: () => find((cue) => review.facts.get(cue.id).warnings.length > 0, "No cue has a warning."),
  open: () => find((cue) => !cue.checked, "All cues are checked."),
  play: () => {
    playUntil = null;
    if (video.paused) video.play();
    else video.pause();
  },
  playCue: withCue((cue) => {
    film.seek(cue.start);
    playUntil = cue.end;
    video.play();
  }),
  back: (e) => film.seek(film.time - (e.shiftKey ? 1 / (review.film.frame_rate ?? 25) : 1)),
  forward: (e) => film.seek(film.time + (e.shiftKey ? 1 / (review.film.frame_rate ?? 25) : 1)),
  edit: withCue(() => {
    fields.text.focus();
    fields.text.setSelectionRange(fields.text.value.length, fields.text.value.length);
  }),
  leave: () => {
    flush();
    list.select(review.selected, true);
  },
  finish: async () => {
    await flush();
    list.select(review.selected, true);
  },
  check: withCue(async (cue) => {
    await flush();
    const checked = !cue.checked;
    const report = await send(
      () => {
        const now = review.cue(cue.id);
        return now && { do: "check", cues: [seen(now)], checked };
      },
      checked ? "Checked" : "Not checked",
    );
    if (report && checked) step(1);
  }),
  remove: withCue((cue) => {
    const cues = review.listed($("order").value, $("filter").value);
    const at = cues.findIndex((other) => other.id === cue.id);
    const after = cues[at + 1] ?? cues[at - 1];
    typing = null;
    send(() => {
      const now = review.cue(cue.id);
      return now && { do: "delete", cues: [seen(now)] };
    }, "Deleted").then((report) => {
      if (report && after) select(after.id, true);
    });
  }),
  split: withCue(async (cue) => {
    await flush();
    const inside = film.time > cue.start + 0.1 && film.time < cue.end - 0.1;
    const at = round(inside ? film.time : (cue.start + cue.end) / 2);
    const [first, second] = halves(fields.text.value);
    send(() => {
      const now = review.cue(cue.id);
      return now && { do: "split", cue: seen(now), at, first, second };
    }, "Split");
  }),
  merge: withCue(async (cue) => {
    await flush();
    send(() => {
      const now = review.cue(cue.id);
      const next = review.cues[review.place(cue.id) + 1];
      return now && next ? { do: "merge", first: seen(now), second: seen(next) } : null;
    }, "Merged");
  }),
  add: async () => {
    const start = round(film.time);
    const next = review.cues.find((cue) => cue.start > start + 0.1);
    const end = round(Math.min(start + 3, next?.start ?? Infinity, review.film.duration ?? Infinity));
    const report = await send(() => ({ do: "add", start, end, text: "" }), "Added");
    if (report?.changed?.length) {
      select(report.changed[0].id, false);
      fields.text.focus();
    }
  },
  startHere: withCue((cue) => change(cue.id, { start: round(film.time) })),
  endHere: withCue((cue) => change(cue.id, { end: round(film.time) })),
  snap: withCue((cue) => {
    const to = {};
    const [start, end] = [review.snap(cue.start), review.snap(cue.end)];
    if (start !== null && start !== cue.start) to.start = start;
    if (end !== null && end !== cue.end && end > (to.start ?? cue.start)) to.end = end;
    if (Object.keys(to).length) change(cue.id, to);
    else say("No cut or pause is near.");
  }),
  earlier: withCue((cue) => change(cue.id, { start: round(cue.start - 0.1), end: round(cue.end - 0.1) })),
  later: withCue((cue) => change(cue.id, { start: round(cue.start + 0.1), end: round(cue.end + 0.1) })),
  say: withCue((cue) => {
    speechSynthesis.cancel();
    const words = new SpeechSynthesisUtterance(cue.text);
    words.lang = review.language ?? "en";
    speechSynthesis.speak(words);
  }),
  again: withCue((cue) => again(cue)),
  undo: () => undo("done", "Undone"),
  redo: () => undo("undone", "Done again"),
  find: () => $("find").showModal(),
  help: () => $("help").showModal(),
};

/** Undoes the last change of a list, which is known when all edits before have been made. */
async function undo(name, words) {
  await flush();
  continued = null;
  let revision;
  const report = await send(() => {
    revision = review[name].pop();
    return revision === undefined ? null : { do: "undo", revision };
  }, words);
  if (!report && revision !== undefined) review[name].push(revision);
  counts();
}

const round = (time) => Math.max(0, Math.round(time * 1000) / 1000);

async function again(cue) {
  const box = $("candidates");
  box.hidden = false;
  const row = (words) => {
    const li = document.createElement("li");
    li.textContent = words;
    return li;
  };
  box.replaceChildren(row("descry looks at the frame…"));
  try {
    const { candidates } = await server.describe(round(film.time), null);
    const rows = candidates.map(({ text, score }) => {
      const li = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.addEventListener("click", () => {
        typing = null;
        change(cue.id, { text });
        box.hidden = true;
      });
      li.append(button);
      if (score !== null) li.append(" score " + score.toFixed(2));
      return li;
    });
    box.replaceChildren(...(rows.length ? rows : [row("descry sees nothing to describe here.")]));
    box.querySelector("button")?.focus();
  } catch (e) {
    box.replaceChildren(row(e.message));
  }
}

// ---- dialogs

function conflict(body, edit) {
  $("conflict-words").textContent = "Another window or another editor has changed this cue after you saw it.";
  const sides = (body.cues ?? []).map((cue) => {
    const p = document.createElement("p");
    p.textContent = "Now: " + (cue.deleted ? "(deleted)" : cue.text);
    return p;
  });
  if (edit?.to?.text !== undefined) {
    const p = document.createElement("p");
    p.textContent = "Yours: " + edit.to.text;
    sides.push(p);
  }
  $("conflict-sides").replaceChildren(...sides);
  const choices = [["Keep what is there now", () => showEditor()]];
  if (edit?.do === "change") choices.push(["Take mine", () => change(edit.cue.id, edit.to)]);
  typing = null;
  choose(choices);
}

function disk({ copy }) {
  $("conflict-words").textContent =
    "The file of this review was changed by another program. Your version is kept beside it, as " + copy + ".";
  $("conflict-sides").replaceChildren();
  choose([
    ["Take the file's version", () => server.choose("theirs").then(reload)],
    ["Keep mine; the other is kept under another name", () => server.choose("mine").then(() => saved("Saved", "good"))],
  ]);
}

function choose(choices) {
  const buttons = choices.map(([words, act]) => {
    const button = document.createElement("button");
    button.textContent = words;
    button.addEventListener("click", act);
    return button;
  });
  $("conflict-choices").replaceChildren(...buttons);
  if (!$("conflict").open) $("conflict").showModal();
}

function findNext() {
  const what = $("find-what").value;
  const { length } = what;
  if (!length) return;
  const flags = $("find-case").checked ? "u" : "iu";
  const plain = what.trim().split(/\s+/).map((w) => w.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&")).join("\\s+");
  let pattern;
  try {
    pattern = new RegExp($("find-words").checked ? `(?<![\\p{L}\\p{N}_])${plain}(?![\\p{L}\\p{N}_])` : plain, flags);
  } catch {
    return;
  }
  const hits = review.cues.filter((cue) => pattern.test(cue.text));
  $("found").textContent = hits.length === 1 ? "1 cue" : hits.length + " cues";
  const next = hits.find((cue) => review.place(cue.id) > review.place(review.selected)) ?? hits[0];
  if (next) select(next.id, false);
}

function dialogs() {
  explain($("keys"));
  $("open-help").addEventListener("click", act.help);
  $("open-find").addEventListener("click", act.find);
  $("find-next").addEventListener("click", findNext);
  $("replace-all").addEventListener("click", async () => {
    const report = await send(() => ({
      do: "replace",
      find: $("find-what").value,
      with: $("find-with").value,
      match_case: $("find-case").checked,
      whole_words: $("find-words").checked,
    }));
    const count = report?.change ? report.changed.length : 0;
    $("found").textContent = count === 1 ? "1 cue was changed." : count + " cues were changed.";
  });
  $("open-glossary").addEventListener("click", () => {
    $("terms").value = review.glossary.map((t) => (t.note ? t.term + ": " + t.note : t.term)).join("\n");
    $("notes").value = review.notes;
    $("glossary").dataset.revision = String(review.revision);
    $("glossary").showModal();
  });
  $("save-glossary").addEventListener("click", async () => {
    const terms = $("terms").value.split("\n").map((line) => {
      const [term, ...note] = line.split(":");
      return { term: term.trim(), note: note.join(":").trim() };
    }).filter((t) => t.term);
    const at = Number($("glossary").dataset.revision);
    await send(() => ({ do: "glossary", terms, seen: at }));
    await send(() => ({ do: "notes", notes: $("notes").value, seen: at }));
    $("glossary").close();
  });
  $("open-history").addEventListener("click", async () => {
    const { changes } = await server.history();
    const rows = changes.map((one) => {
      const li = document.createElement("li");
      li.textContent = `${new Date(one.time).toLocaleString()} · ${one.who || "somebody"} · ${one.what} · ${one.words}`;
      return li;
    });
    $("changes").replaceChildren(...rows);
    $("history").showModal();
  });
  const formats = [["vtt", "WebVTT"], ["srt", "SubRip"], ["json", "JSON"], ["csv", "Table"], ["ttml", "DAPT"], ["html", "Transcript"]];
  for (const [end, words] of formats) {
    const li = document.createElement("li");
    const a = document.createElement("a");
    a.href = "/export/" + end;
    a.download = "";
    a.textContent = words + " (." + end + ")";
    li.append(a);
    $("formats").append(li);
  }
  $("open-export").addEventListener("click", async () => {
    await flush();
    $("export").showModal();
  });
}

// ---- the film

function watch() {
  const tick = () => {
    const time = film.time;
    $("clock").textContent = clock(time);
    if (document.activeElement !== $("seek")) $("seek").value = String(time);
    $("seek").setAttribute("aria-valuetext", clock(time));
    if (playUntil !== null && time >= playUntil) {
      playUntil = null;
      video.pause();
    }
    const cue = review.cues.find((c) => c.start <= time && time < c.end);
    $("shown").textContent = cue?.text ?? "";
    timeline.show(time);
  };
  const run = () => {
    tick();
    if (!video.paused) requestAnimationFrame(run);
  };
  for (const event of ["timeupdate", "seeked", "loadedmetadata"]) video.addEventListener(event, tick);
  video.addEventListener("play", () => {
    $("play").textContent = "Pause";
    run();
  });
  video.addEventListener("pause", () => ($("play").textContent = "Play"));
  $("seek").addEventListener("input", () => film.seek(Number($("seek").value)));
  $("speed").addEventListener("change", () => (video.playbackRate = Number($("speed").value)));
  tick();
}

async function waveform() {
  const answer = await fetch("/waveform");
  if (!answer.ok) return;
  timeline.rate = Number(answer.headers.get("Descry-Rate"));
  timeline.peaks = new Uint8Array(await answer.arrayBuffer());
  timeline.draw();
}

// ---- the start

function buttons() {
  const press = {
    "undo": "undo", "redo": "redo", "play": "play", "play-cue": "playCue", "start-here": "startHere", "end-here": "endHere",
    "snap": "snap", "check": "check", "split": "split", "merge": "merge", "delete": "remove", "add": "add", "say": "say",
    "again": "again",
  };
  for (const [id, name] of Object.entries(press)) $(id).addEventListener("click", act[name]);
  $("editor").addEventListener("submit", (e) => e.preventDefault());
  fields.text.addEventListener("input", typed);
  fields.note.addEventListener("input", typed);
  fields.text.addEventListener("blur", flush);
  fields.note.addEventListener("blur", flush);
  for (const edge of ["start", "end"]) {
    fields[edge].addEventListener("change", () => {
      const time = seconds(fields[edge].value);
      if (Number.isNaN(time)) {
        notice("A time is seconds, minutes:seconds or hours:minutes:seconds.");
        fields[edge].value = exact(review.current()[edge]);
      } else {
        change(review.selected, { [edge]: round(time) });
      }
    });
  }
  for (const id of ["order", "filter"]) $(id).addEventListener("change", () => refresh([]));
  // What was typed in the last moment is sent even where the page closes now.
  addEventListener("pagehide", () => {
    if (!typing) return;
    const cue = review.cue(typing.id);
    if (!cue || cue.text === typing.text) return;
    const edit = { do: "change", cue: seen(cue), to: { text: typing.text } };
    fetch("/api/edit", {
      method: "POST", keepalive: true, headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ edit, who: who() }),
    });
  });
}

/** What became of the file. */
function written(state) {
  if (state.state === "changed-on-disk") {
    disk(state);
  } else if (state.state === "failed") {
    saved("Not saved", "bad");
    notice("The review cannot be written, and descry keeps trying: " + state.why);
    unwritten = true;
  } else if (unwritten) {
    unwritten = false;
    saved("Saved", "good");
    notice("");
  }
}

/** Whether the file could not be written. */
let unwritten = false;

async function reload() {
  const loaded = await server.load();
  review.take(loaded);
  typing = null;
  refresh(review.cues.map((cue) => cue.id));
  showEditor();
  saved("Saved", "good");
}

async function start() {
  const loaded = await server.load();
  review = new Review(loaded);
  review.language = loaded.document.language;
  $("film-name").textContent = loaded.film.name;
  document.title = loaded.film.name + " – descry review";
  $("seek").max = String(loaded.film.duration ?? review.cues.at(-1)?.end ?? 0);
  film = new Film(video, loaded.film);
  film.failed = notice;
  list = new CueList($("cues"), review, act);
  timeline = new TimelineView($("timeline"), review, act);
  dialogs();
  buttons();
  listen(act);
  list.show(review.listed("time", "all"));
  list.select(review.selected, false);
  showEditor();
  counts();
  watch();
  waveform();
  saved("Saved", "good");
  written(loaded.saved);
  server.follow({
    change: (report) => took(report),
    saved: written,
    disk,
    waveform,
    document: reload,
    connected: async (is) => {
      if (!is) {
        saved("descry does not answer", "bad");
        return;
      }
      if (unsent) {
        const make = unsent;
        unsent = null;
        await send(make);
        notice("");
      } else {
        const { document } = await server.load();
        if (document.revision !== review.revision) await reload();
        else saved("Saved", "good");
      }
    },
  });
}

start().catch((e) => {
  notice(e.message);
  saved("Not loaded", "bad");
});
