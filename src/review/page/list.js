// The cues, as a list or as a storyboard: in an order, with a filter, and one of them selected.

/** @import {Cue} from "./types.d.ts" */
/** @import {Review} from "./state.js" */

import { find, make } from "./elements.js";
import { RowWindow } from "./rows.js";
import { clock } from "./state.js";

/** @type {Record<string, string>} */
export const WORDS = {
  "empty": "says nothing",
  "outside-film": "not within the film",
  "overlap": "overlaps the cue before",
  "too-fast": "too fast to read",
  "longer-than-pause": "longer than its pause",
  "over-speech": "over speech",
  "uncertain": "uncertain",
  "possible-hallucination": "possible hallucination",
};
/** Rows that are kept although they are out of sight: nobody scrolls further back at once. */
const KEPT = 600;

/**
 * A row, and what of it changes.
 * @typedef {{row: HTMLLIElement, image: HTMLImageElement, pick: HTMLButtonElement, time: HTMLElement, says: HTMLElement,
 *   facts: HTMLElement}} CueRow
 */

export class CueList {
  /**
   * @param {Review} review
   * @param {(id: number) => void} pick is called with the cue that somebody chooses
   */
  constructor(review, pick) {
    this.review = review;
    this.list = find("cues", HTMLOListElement);
    this.order = find("order", HTMLSelectElement);
    this.filter = find("filter", HTMLSelectElement);
    /** @type {Cue[]} */
    this.cues = [];
    /** Their positions in the list, by their numbers. @type {Map<number, number>} */
    this.places = new Map();
    /** Rows that were made, those that were used last at the end. @type {Map<number, CueRow>} */
    this.rows = new Map();
    this.window = new RowWindow(this.list, (place) => this.row(/** @type {Cue} */ (this.cues[place])).row);
    this.list.addEventListener("click", (e) => {
      const row = e.target instanceof Element && e.target.closest("li");
      if (row instanceof HTMLLIElement && row.dataset.id) pick(Number(row.dataset.id));
    });
    for (const choice of [this.order, this.filter]) choice.addEventListener("change", () => this.show());
    find("layout", HTMLSelectElement).addEventListener("change", () => this.lay());
    this.lay();
  }

  /** Shows the cues as a list or as a storyboard. */
  lay() {
    const board = find("layout", HTMLSelectElement).value === "storyboard";
    this.list.classList.toggle("scenes", board);
    this.list.classList.toggle("columns", board);
    this.list.classList.toggle("rows", !board);
    this.window.estimate = board ? 230 : 80;
    this.window.heights = new Float64Array(0);
    this.show();
    this.select(false);
  }

  /** Shows the cues that there are now, in their order. */
  show() {
    this.cues = this.review.listed(this.order.value, this.filter.value);
    this.places = new Map(this.cues.map((cue, place) => [cue.id, place]));
    this.window.reset(this.cues.length);
  }

  /** Whether a cue is in the list. @param {number} id */
  has(id) {
    return this.places.has(id);
  }

  /** Shows what cues are now; those that are new or gone appear and disappear. @param {number[]} touched */
  update(touched) {
    for (const id of touched) {
      const made = this.rows.get(id);
      const cue = this.review.cue(id);
      if (made && cue) this.fill(cue, made);
      if (!cue) this.rows.delete(id);
    }
    this.show();
  }

  /** Shows all cues. */
  showAll() {
    this.filter.value = "all";
    this.show();
  }

  /** The cue some places after the selected one; the first or the last of all where there is none. @param {number} by */
  after(by) {
    const at = (this.review.selected === null ? undefined : this.places.get(this.review.selected)) ?? 0;
    return this.cues[Math.min(Math.max(at + by, 0), this.cues.length - 1)];
  }

  /** The cue that is selected once a cue is gone. @param {number} id */
  neighbour(id) {
    const at = this.places.get(id) ?? -1;
    return this.cues[at + 1] ?? this.cues[at - 1];
  }

  /** Marks the selected cue, and brings it into sight. @param {boolean} focus */
  select(focus) {
    for (const row of this.list.querySelectorAll("[aria-current]")) {
      row.removeAttribute("aria-current");
      row.classList.remove("selected");
    }
    const id = this.review.selected;
    const place = id === null ? undefined : this.places.get(id);
    if (place === undefined) return;
    // On a phone, the film is above the list, and whoever edits there stays there.
    this.window.reveal(place, focus);
    const { row, pick } = this.row(/** @type {Cue} */ (this.cues[place]));
    row.setAttribute("aria-current", "true");
    row.classList.add("selected");
    if (focus) pick.focus({ preventScroll: true });
  }

  /** The row of a cue. @param {Cue} cue */
  row(cue) {
    const known = this.rows.get(cue.id);
    if (known) {
      this.rows.delete(cue.id);
      this.rows.set(cue.id, known);
      return known;
    }
    const row = make("li");
    row.dataset.id = String(cue.id);
    const image = make("img", undefined, "thumb");
    image.alt = "";
    image.loading = "lazy";
    const body = make("div", undefined, "body");
    const pick = make("button", undefined, "pick");
    pick.type = "button";
    const [time, says, facts] = [make("time"), make("span", undefined, "says"), make("p", undefined, "facts soft")];
    pick.append(time, says);
    body.append(pick, facts);
    row.append(image, body);
    const made = { row, image, pick, time, says, facts };
    this.rows.set(cue.id, made);
    this.fill(cue, made);
    if (cue.id === this.review.selected) {
      row.setAttribute("aria-current", "true");
      row.classList.add("selected");
    }
    for (const [id, old] of this.rows) {
      if (this.rows.size <= KEPT) break;
      if (!old.row.isConnected && id !== cue.id) this.rows.delete(id);
    }
    return made;
  }

  /** @param {Cue} cue @param {CueRow} made */
  fill(cue, { row, image, time, says, facts }) {
    const known = this.review.known(cue.id);
    /** @param {HTMLElement} element @param {string} text */
    const set = (element, text) => {
      if (element.textContent !== text) element.textContent = text;
    };
    set(time, clock(cue.start) + " – " + clock(cue.end));
    set(says, cue.text || "(no text)");
    const words = known.warnings.map((w) => WORDS[w] ?? w);
    const score = known.score === null ? [] : ["score " + known.score.toFixed(2)];
    const checked = cue.checked ? ["checked"] : [];
    const note = cue.note ? ["note: " + cue.note] : [];
    const times = ["reads in " + known.reading.toFixed(1) + " s", "spoken in " + known.speaking.toFixed(1) + " s"];
    set(facts, [...words, ...checked, ...score, ...times, ...note].join(" · "));
    row.classList.toggle("warned", words.length > 0);
    row.classList.toggle("checked", cue.checked);
    const scene = this.review.timeline.scenes?.[cue.machine?.scene ?? -1];
    const at = scene ? scene.keyframe : (cue.start + cue.end) / 2;
    const src = `picture/${this.review.film.key}/${Math.round(at * 1000)}.jpg`;
    if (image.getAttribute("src") !== src) image.src = src;
  }
}
