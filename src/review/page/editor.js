// The editor of one cue: its fields, and what is typed into them and not sent yet.

/** @import {Cue, ChangeEdit, NewParts} from "./types.d.ts" */
/** @import {Edits} from "./edits.js" */
/** @import {Review} from "./state.js" */

import { any, button, find, input } from "./elements.js";
import { editLast } from "./server.js";
import { exact, round, seconds, seen } from "./state.js";
import { notice, saved } from "./status.js";
import { who } from "./edits.js";

/** How long after the last key what was typed is sent, in milliseconds. */
const PAUSE = 400;
/** How much of a pause may be missing before a text counts as too long, in seconds. */
const OVER = 0.2;

export class CueEditor {
  /**
   * @param {Review} review
   * @param {Edits} edits
   */
  constructor(review, edits) {
    this.review = review;
    this.edits = edits;
    this.form = find("editor", HTMLFormElement);
    this.text = find("text", HTMLTextAreaElement);
    this.note = input("note");
    /** What was typed and is not sent yet. @type {{id: number, text: string, note: string} | null} */
    this.typing = null;
    /** The change that further typing continues. @type {{id: number, revision: number} | null} */
    this.continued = null;
    /** @type {number | undefined} */
    this.later = undefined;
    this.form.addEventListener("submit", (e) => e.preventDefault());
    for (const field of [this.text, this.note]) {
      field.addEventListener("input", () => this.typed());
      field.addEventListener("blur", () => this.flush());
    }
    for (const edge of /** @type {const} */ (["start", "end"])) {
      input(edge).addEventListener("change", () => this.timed(edge));
    }
    addEventListener("pagehide", () => this.sendLast());
  }

  /** Shows the selected cue. */
  show() {
    const cue = this.review.current();
    this.form.hidden = !cue;
    if (!cue) return;
    const at = this.review.place(cue.id);
    any("editor-title").textContent = `Cue ${at + 1} of ${this.review.cues.length}`;
    /** @param {HTMLInputElement} field @param {string} value */
    const put = (field, value) => {
      if (document.activeElement !== field && field.value !== value) field.value = value;
    };
    put(input("start"), exact(cue.start));
    put(input("end"), exact(cue.end));
    if (!this.typing) {
      if (this.text.value !== cue.text) this.text.value = cue.text;
      put(this.note, cue.note ?? "");
    }
    button("check").textContent = cue.checked ? "Not checked" : "Check";
    const said = cue.machine && cue.machine.text !== cue.text ? "The machine said: " + cue.machine.text : "";
    any("machine").textContent = said;
    this.limits();
  }

  /** Shows how long the text takes, and how much time it has. */
  limits() {
    const cue = this.review.current();
    if (!cue) return;
    const { reading, speaking } = this.review.times(this.text.value);
    const lasts = cue.end - cue.start;
    const parts = [`${[...this.text.value].length} characters`];
    parts.push(`reads in ${reading.toFixed(1)} s of ${lasts.toFixed(1)} s`, `spoken in ${speaking.toFixed(1)} s`);
    const pause = this.review.quietFrom(cue.start);
    if (pause !== null) parts.push(pause > 0 ? `pause of ${pause.toFixed(1)} s` : "somebody talks here");
    any("limits").textContent = parts.join(" · ");
    any("limits").classList.toggle("over", reading > lasts || (pause !== null && speaking > pause + OVER));
  }

  typed() {
    const cue = this.review.current();
    if (!cue) return;
    this.typing = { id: cue.id, text: this.text.value, note: this.note.value };
    saved("Typing…", "busy");
    this.limits();
    clearTimeout(this.later);
    this.later = setTimeout(() => this.flush(), PAUSE);
  }

  /** Sends what was typed. */
  async flush() {
    clearTimeout(this.later);
    const sent = this.typing;
    if (!sent) return;
    const { id } = sent;
    const report = await this.edits.send(() => {
      const cue = this.review.cue(id);
      const edit = cue && typedEdit(cue, sent);
      if (edit && this.continued?.id === id) edit.continues = this.continued.revision;
      return edit ?? null;
    });
    if (report?.change) this.continued = { id, revision: report.revision };
    if (this.typing === sent) this.typing = null;
  }

  /** What was typed is not to be sent. */
  forget() {
    clearTimeout(this.later);
    this.typing = null;
  }

  /** Another cue is edited from now on. */
  leave() {
    this.flush();
    this.continued = null;
    this.typing = null;
  }

  /** Takes a time from its field. @param {"start" | "end"} edge */
  timed(edge) {
    const cue = this.review.current();
    if (!cue) return;
    const time = seconds(input(edge).value);
    if (Number.isNaN(time)) {
      notice("A time is seconds, minutes:seconds or hours:minutes:seconds.");
      input(edge).value = exact(cue[edge]);
    } else {
      this.edits.change(cue.id, { [edge]: round(time) });
    }
  }

  /** Puts the cursor behind the text. */
  focus() {
    this.text.focus();
    this.text.setSelectionRange(this.text.value.length, this.text.value.length);
  }

  /** The text as two: at the cursor, or else in its middle. @returns {[string, string]} */
  halves() {
    const text = this.text.value;
    const cursor = document.activeElement === this.text ? this.text.selectionStart : 0;
    if (cursor > 0 && cursor < text.length) return [text.slice(0, cursor), text.slice(cursor)];
    const words = text.split(/\s+/);
    const half = Math.ceil(words.length / 2);
    return [words.slice(0, half).join(" "), words.slice(half).join(" ")];
  }

  /** What was typed in the last moment is sent even if the page closes now. */
  sendLast() {
    const cue = this.typing && this.review.cue(this.typing.id);
    const edit = this.typing && cue && typedEdit(cue, this.typing);
    if (edit) editLast(edit, who());
  }
}

/**
 * The edit that gives a cue what was typed; null if it has that already.
 * @param {Cue} cue
 * @param {{text: string, note: string}} typed
 * @returns {ChangeEdit | null}
 */
function typedEdit(cue, { text, note }) {
  /** @type {NewParts} */
  const to = {};
  if (cue.text !== text) to.text = text;
  if ((cue.note ?? "") !== note) to.note = note;
  return Object.keys(to).length ? { do: "change", cue: seen(cue), to } : null;
}
