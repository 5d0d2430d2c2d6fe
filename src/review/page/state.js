// What the page knows: the cues, what is selected, and what was changed. Nothing here touches the page.

/**
 * @typedef {{start: number, end: number, text: string, scene?: number}} MachineCue
 * @typedef {{id: number, start: number, end: number, text: string, checked: boolean, note?: string, version: number,
 *   machine?: MachineCue}} Cue
 * @typedef {{reading: number, speaking: number, score: number|null, warnings: string[]}} Facts
 */

/** The least difference between two times, in seconds. */
export const TICK = 0.001;

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

export class Review {
  constructor(loaded) {
    this.rules = loaded.rules;
    this.film = loaded.film;
    this.limits = loaded.limits;
    this.take(loaded);
    this.selected = this.cues.length ? this.cues[0].id : null;
    /** Revisions that this page can undo, and those that it has undone. */
    this.done = [];
    this.undone = [];
  }

  /** Takes a whole document. */
  take(loaded) {
    const document = loaded.document;
    this.revision = document.revision;
    this.timeline = document.timeline;
    this.glossary = document.glossary;
    this.notes = document.notes;
    /** @type {Cue[]} */
    this.cues = document.cues;
    /** @type {Map<number, Facts>} */
    this.facts = new Map(document.cues.map((cue, n) => [cue.id, loaded.facts[n]]));
  }

  cue(id) {
    return this.cues.find((cue) => cue.id === id);
  }

  current() {
    return this.selected === null ? undefined : this.cue(this.selected);
  }

  place(id) {
    return this.cues.findIndex((cue) => cue.id === id);
  }

  /** Takes a change that the server reports. Returns the numbers of the cues that are new, changed or gone. */
  change(report) {
    if (report.revision <= this.revision) return [];
    this.revision = report.revision;
    const touched = new Set(report.removed);
    for (const cue of report.changed) touched.add(cue.id);
    this.cues = this.cues.filter((cue) => !touched.has(cue.id)).concat(report.changed);
    this.cues.sort((a, b) => a.start - b.start || a.id - b.id);
    for (const id of report.removed) this.facts.delete(id);
    for (const [id, facts] of Object.entries(report.facts)) {
      this.facts.set(Number(id), facts);
      touched.add(Number(id));
    }
    if (report.glossary) this.glossary = report.glossary;
    if (report.notes !== undefined && report.notes !== null) this.notes = report.notes;
    if (this.selected !== null && !this.cue(this.selected)) this.selected = null;
    return [...touched];
  }

  /** Remembers a change of this page, for undo. `of`: what it undid or did again. */
  remember(revision, what, replaced) {
    if (what === "undo") {
      this.undone.push(revision);
    } else {
      if (replaced) this.done = this.done.filter((r) => r !== replaced);
      this.done.push(revision);
      if (what !== "redo") this.undone = [];
    }
  }

  /** How long a text takes to read and to speak, in seconds: as the server says it. */
  times(text) {
    const characters = [...text].length;
    const words = text.split(" ").length;
    const units = text ? Math.max(words * 6, characters) : 0;
    return { reading: characters / this.rules.reading_speed, speaking: (units * 10) / this.rules.pace };
  }

  /** The nearest cut, start or end of speech within a second of a time; none if there is none. */
  snap(time) {
    const marks = (this.timeline.scenes ?? []).map((s) => s.start);
    for (const s of this.timeline.speech ?? []) marks.push(s.start, s.end);
    let best = null;
    for (const mark of marks) {
      if (Math.abs(mark - time) <= 1 && (best === null || Math.abs(mark - time) < Math.abs(best - time))) best = mark;
    }
    return best;
  }

  /** Cues in an order and with a filter. */
  listed(order, filter) {
    const wanted = this.cues.filter((cue) => {
      if (filter === "open") return !cue.checked;
      return filter !== "warned" || (this.facts.get(cue.id)?.warnings.length ?? 0) > 0;
    });
    const score = (cue) => this.facts.get(cue.id)?.score ?? 1;
    return order === "score" ? wanted.sort((a, b) => score(a) - score(b) || a.start - b.start) : wanted;
  }
}
