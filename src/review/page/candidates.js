// "Describe again": what the model says of the frame that is shown and of frames around it, with a prompt of the editor's if
// it takes one. One question at a time; a new one, another cue and Stop end it.

/** @import {Candidate} from "./types.d.ts" */
/** @import {Edits} from "./edits.js" */
/** @import {CueEditor} from "./editor.js" */
/** @import {Review} from "./state.js" */

import { any, button, find, make, makeButton } from "./elements.js";
import * as server from "./server.js";

export class Candidates {
  /**
   * @param {Review} review
   * @param {Edits} edits
   * @param {CueEditor} editor
   * @param {() => number} now the position of the film
   */
  constructor(review, edits, editor, now) {
    this.review = review;
    this.edits = edits;
    this.editor = editor;
    this.now = now;
    this.box = any("again-box");
    this.list = find("candidates", HTMLUListElement);
    this.prompt = find("prompt", HTMLTextAreaElement);
    /** What is under way. @type {AbortController | null} */
    this.asking = null;
    const { model } = review.film;
    this.prompt.disabled = !model || model.prompt === null;
    this.prompt.value = model?.prompt ?? "";
    any("prompt-why").textContent = whyNoPrompt(model);
    any("prompt-why").hidden = !this.prompt.disabled;
    button("ask").addEventListener("click", () => this.ask());
    button("stop-asking").addEventListener("click", () => this.stop("Stopped."));
    button("close-again").addEventListener("click", () => this.close());
  }

  /** Shows what the model says of the frame that is shown. */
  open() {
    this.box.hidden = false;
    return this.ask();
  }

  close() {
    this.stop("");
    this.box.hidden = true;
  }

  /** Ends what is under way. @param {string} words */
  stop(words) {
    if (!this.asking) return;
    this.asking.abort();
    this.asking = null;
    this.show([make("li", words)]);
  }

  async ask() {
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    const { model } = this.review.film;
    const own = this.prompt.value.trim();
    const prompt = this.prompt.disabled || own === model?.prompt || !own ? null : own;
    this.show([make("li", "The model describes the frame…")]);
    try {
      const { candidates } = await server.describe(Math.max(0, this.now()), prompt, asking.signal);
      if (this.asking !== asking) return;
      this.asking = null;
      const rows = candidates.map((one) => this.row(one));
      this.show(rows.length ? rows : [make("li", "There is nothing to describe here.")]);
      this.list.querySelector("button")?.focus();
    } catch (e) {
      if (this.asking !== asking) return;
      this.asking = null;
      this.show([make("li", e instanceof Error ? e.message : String(e))]);
    }
  }

  /** @param {HTMLElement[]} rows */
  show(rows) {
    this.list.replaceChildren(...rows);
    button("stop-asking").disabled = !this.asking;
  }

  /** @param {Candidate} candidate */
  row({ text, score, offset }) {
    const row = make("li");
    row.append(makeButton(text, () => {
      const cue = this.review.current();
      if (!cue) return;
      this.editor.forget();
      this.edits.change(cue.id, { text });
      this.close();
    }));
    const facts = score === null ? [] : ["score " + score.toFixed(2)];
    if (offset) facts.push(Math.abs(offset).toFixed(1) + (offset < 0 ? " s earlier" : " s later"));
    row.append(make("span", facts.join(" · "), "soft"));
    return row;
  }
}

/** @param {import("./types.d.ts").FrameModel | null} model */
function whyNoPrompt(model) {
  if (!model) return "No model is loaded.";
  return `${model.name} takes no prompt. A model that follows one, such as SmolVLM, is chosen with --model.`;
}
