// What the page knows: the cues, what is selected, and what was changed. Nothing here touches the page.

/** @import {Cue, EditReport, Facts, Loaded, Stretch} from "./types.d.ts" */

/** The least difference between two times, in seconds. */
export const TICK = 0.001;
/** How far a time is moved to a cut or to the start or end of speech, in seconds. */
const NEAR = 1;

/** @param {number} seconds */
export function clock(seconds) {
  const tenths = Math.max(0, Math.round(seconds * 10));
  const [h, m, s] = [Math.floor(tenths / 36000), Math.floor(tenths / 600) % 60, (tenths % 600) / 10];
  const rest = String(m).padStart(h ? 2 : 1, "0") + ":" + s.toFixed(1).padStart(4, "0");
  return h ? h + ":" + rest : rest;
}

/** `H:MM:SS.mmm`, for fields. @param {number} seconds */
export function exact(seconds) {
  const ms = Math.max(0, Math.round(seconds * 1000));
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  const parts = [Math.floor(ms / 3600000), two(Math.floor(ms / 60000) % 60), two(Math.floor(ms / 1000) % 60)];
  return parts.join(":") + "." + String(ms % 1000).padStart(3, "0");
}

/** A time as people type it: `12.5`, `1:02.5`, `1:00:02,5`. NaN if it is none. @param {string} text */
export function seconds(text) {
  const parts = text.trim().replace(",", ".").split(":");
  if (parts.length > 3 || parts.some((p, n) => !/^\d+(\.\d+)?$/.test(p) || (n < parts.length - 1 && p.includes(".")))) {
    return NaN;
  }
  return parts.reduce((sum, part) => sum * 60 + Number(part), 0);
}

/** A time that a cue can have. @param {number} time */
export const round = (time) => Math.max(0, Math.round(time * 1000) / 1000);

/** A cue as this page saw it. @param {Cue} cue */
export const seen = (cue) => ({ id: cue.id, version: cue.version });

/**
 * The position of the first of some things, in order, that ends after a time.
 * @param {Stretch[]} things
 * @param {number} time
 */
export function firstAfter(things, time) {
  let [low, high] = [0, things.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (/** @type {Stretch} */ (things[middle]).end > time) high = middle;
    else low = middle + 1;
  }
  return low;
}

export class Review {
  /** @param {Loaded} loaded */
  constructor(loaded) {
    this.rules = loaded.rules;
    this.film = loaded.film;
    this.limits = loaded.limits;
    this.revision = 0;
    this.language = "en";
    this.timeline = loaded.document.timeline;
    this.pauses = loaded.pauses;
    this.glossary = loaded.document.glossary;
    this.notes = "";
    /** In order of their start. @type {Cue[]} */
    this.cues = [];
    /** The longest cue, in seconds: no cue that begins earlier than this before a time is still there then. */
    this.longest = 0;
    /** Their positions, by their numbers. @type {Map<number, number>} */
    this.places = new Map();
    /** @type {Map<number, Facts>} */
    this.facts = new Map();
    /** The number of the selected cue. @type {number | null} */
    this.selected = null;
    this.take(loaded);
    this.selected = this.cues[0]?.id ?? null;
    /** Revisions that this page can undo, and those that it has undone. @type {number[]} */
    this.done = [];
    /** @type {number[]} */
    this.undone = [];
  }

  /** Takes a whole document. @param {Loaded} loaded */
  take(loaded) {
    const document = loaded.document;
    this.revision = document.revision;
    this.language = document.language;
    this.timeline = document.timeline;
    this.pauses = loaded.pauses;
    this.glossary = document.glossary;
    this.notes = document.notes;
    this.facts = new Map(document.cues.map((cue, n) => [cue.id, /** @type {Facts} */ (loaded.facts[n])]));
    this.put(document.cues);
  }

  /** @param {Cue[]} cues in order */
  put(cues) {
    this.cues = cues;
    this.places = new Map(cues.map((cue, place) => [cue.id, place]));
    this.longest = cues.reduce((longest, cue) => Math.max(longest, cue.end - cue.start), 0);
    if (this.selected !== null && !this.places.has(this.selected)) this.selected = null;
  }

  /** @param {number} id */
  cue(id) {
    const place = this.places.get(id);
    return place === undefined ? undefined : this.cues[place];
  }

  current() {
    return this.selected === null ? undefined : this.cue(this.selected);
  }

  /** The position of a cue; -1 if there is none. @param {number | null} id */
  place(id) {
    return (id === null ? undefined : this.places.get(id)) ?? -1;
  }

  /** What is known of a cue. @param {number} id @returns {Facts} */
  known(id) {
    return this.facts.get(id) ?? { reading: 0, speaking: 0, score: null, warnings: [] };
  }

  /** The cues that are there at some time from one time to another. @param {number} from @param {number} to */
  within(from, to) {
    let [low, high] = [0, this.cues.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (/** @type {Cue} */ (this.cues[middle]).start >= from - this.longest) high = middle;
      else low = middle + 1;
    }
    const found = [];
    for (let n = low; n < this.cues.length; n++) {
      const cue = /** @type {Cue} */ (this.cues[n]);
      if (cue.start > to) break;
      if (cue.end > from) found.push(cue);
    }
    return found;
  }

  /**
   * Takes a change that the server reports. Returns the numbers of the cues that are new, changed or gone.
   * @param {EditReport} report
   */
  change(report) {
    if (report.revision <= this.revision) return [];
    this.revision = report.revision;
    const touched = new Set(report.removed);
    for (const cue of report.changed) touched.add(cue.id);
    const cues = this.cues.filter((cue) => !touched.has(cue.id)).concat(report.changed);
    cues.sort((a, b) => a.start - b.start || a.id - b.id);
    for (const id of report.removed) this.facts.delete(id);
    for (const [id, facts] of Object.entries(report.facts)) {
      this.facts.set(Number(id), facts);
      touched.add(Number(id));
    }
    if (report.glossary) this.glossary = report.glossary;
    if (report.notes !== null) this.notes = report.notes;
    this.put(cues);
    return [...touched];
  }

  /**
   * Remembers a change of this page, for undo.
   * @param {number} revision
   * @param {string} what
   * @param {number | null} replaced the change that it continues
   */
  remember(revision, what, replaced) {
    if (what === "undo") {
      this.undone.push(revision);
    } else {
      if (replaced !== null) this.done = this.done.filter((r) => r !== replaced);
      this.done.push(revision);
      if (what !== "redo") this.undone = [];
    }
  }

  /** How long a text takes to read and to speak, in seconds: as the server computes it. @param {string} text */
  times(text) {
    const characters = [...text].length;
    const words = text.split(" ").length;
    const units = text ? Math.max(words * 6, characters) : 0;
    return { reading: characters / this.rules.reading_speed, speaking: (units * 10) / this.rules.pace };
  }

  /** The nearest cut, start or end of speech or of a pause; null if none is near. @param {number} time */
  snap(time) {
    const marks = (this.timeline.scenes ?? []).map((s) => s.start);
    for (const s of [...(this.timeline.speech ?? []), ...(this.pauses ?? [])]) marks.push(s.start, s.end);
    let best = null;
    for (const mark of marks) {
      if (Math.abs(mark - time) <= NEAR && (best === null || Math.abs(mark - time) < Math.abs(best - time))) best = mark;
    }
    return best;
  }

  /** How long nobody talks from a time on; null if speech is not known. @param {number} time */
  quietFrom(time) {
    const { speech } = this.timeline;
    if (!speech) return null;
    const next = speech[firstAfter(speech, time)];
    return next ? Math.max(0, next.start - time) : (this.film.duration ?? Infinity) - time;
  }

  /**
   * The times of a cue in the nearest pause that has room for it beside other cues; null if there is none. A cue that is in
   * a pause already moves only as far as it must.
   * @param {Cue} cue
   */
  pauseFor(cue) {
    const needed = Math.max(this.known(cue.id).speaking, 0.1);
    let best = null;
    for (const room of (this.pauses ?? []).flatMap((pause) => this.room(pause, cue.id))) {
      if (room.end - room.start < needed) continue;
      const start = Math.min(Math.max(cue.start, room.start), room.end - needed);
      const by = Math.abs(start - cue.start);
      const end = Math.min(start + Math.max(needed, cue.end - cue.start), room.end);
      if (best === null || by < best.by) best = { by, start, end };
    }
    return best;
  }

  /** What of a stretch no cue covers but one. @param {Stretch} stretch @param {number} but @returns {Stretch[]} */
  room({ start, end }, but) {
    const free = [];
    for (const cue of this.within(start, end)) {
      if (cue.id === but) continue;
      if (cue.start > start) free.push({ start, end: cue.start });
      start = Math.max(start, cue.end);
    }
    return start < end ? [...free, { start, end }] : free;
  }

  /**
   * Cues in an order and with a filter.
   * @param {string} order
   * @param {string} filter
   */
  listed(order, filter) {
    const wanted = this.cues.filter((cue) => {
      if (filter === "open") return !cue.checked;
      return filter !== "warned" || this.known(cue.id).warnings.length > 0;
    });
    const score = (/** @type {Cue} */ cue) => this.known(cue.id).score ?? 1;
    return order === "score" ? wanted.sort((a, b) => score(a) - score(b) || a.start - b.start) : wanted;
  }
}
