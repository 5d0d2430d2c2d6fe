// Edits of this window: sent one after the other, refused or undone, and kept while descry does not answer.

/** @import {Cue, Edit, EditReport, NewParts, Refusal, SaveState} from "./types.d.ts" */
/** @import {Review} from "./state.js" */

import * as server from "./server.js";
import { seen } from "./state.js";
import { announce, notice, saved } from "./status.js";

/** Who edits, if this browser knows. */
export const who = () => localStorage.getItem("descry-editor") ?? "";

export class Edits {
  /** @param {Review} review */
  constructor(review) {
    this.review = review;
    /** Shows what a report has changed. @type {(report: EditReport) => void} */
    this.took = () => {};
    /** Shows the cues as they are. */
    this.refused = () => {};
    /** Asks which version of a cue stays. @type {(body: Refusal, edit: Edit | null) => void} */
    this.conflict = () => {};
    /** Asks which version of the file stays. @type {(copy: string) => void} */
    this.disk = () => {};
    /** What could not be sent because descry did not answer. @type {(() => Edit | null) | null} */
    this.unsent = null;
    /** Whether the file could not be written. */
    this.unwritten = false;
  }

  /**
   * Sends an edit that `make` gives when its turn has come. Returns the report, or undefined if it was refused.
   * @param {() => Edit | null} make
   * @param {string} [words] announced once it is made
   */
  async send(make, words) {
    /** @type {Edit | null} */
    let made = null;
    saved("Saving…", "busy");
    try {
      const report = await server.edit(() => (made = make()), who());
      if (!report) {
        saved("Saved", "good");
        return undefined;
      }
      if (report.change) {
        this.review.remember(report.revision, report.change.what, report.replaced);
        this.took(report);
      }
      if (!this.unwritten) {
        saved("Saved", "good");
        notice("");
      }
      if (words) announce(words);
      return report;
    } catch (e) {
      this.fail(e, made, make);
      return undefined;
    }
  }

  /** @param {unknown} e @param {Edit | null} made @param {() => Edit | null} make */
  fail(e, made, make) {
    if (e instanceof server.Refused && e.status === 409) {
      saved("Not saved: somebody has changed this", "bad");
      this.conflict(e.body, made);
    } else if (e instanceof server.Refused && e.status === 422) {
      notice(e.message);
      saved("Not changed", "wait");
      this.refused();
    } else {
      const why = e instanceof Error ? e.message : String(e);
      notice("Not saved: descry does not answer. What you typed is still here. " + why);
      saved("Not saved", "bad");
      this.unsent = make;
    }
  }

  /**
   * Changes some parts of a cue.
   * @param {number} id
   * @param {NewParts | ((cue: Cue) => NewParts)} to the new parts, or what makes them of the cue as it is when its turn comes
   */
  change(id, to) {
    return this.send(() => {
      const cue = this.review.cue(id);
      return cue ? { do: "change", cue: seen(cue), to: typeof to === "function" ? to(cue) : to } : null;
    });
  }

  /**
   * Undoes the last change of a list, which is known when all edits before have been made.
   * @param {"done" | "undone"} name
   * @param {string} words
   */
  async undo(name, words) {
    /** @type {number | undefined} */
    let revision;
    const report = await this.send(() => {
      revision = this.review[name].pop();
      return revision === undefined ? null : { do: "undo", revision };
    }, words);
    if (!report && revision !== undefined) this.review[name].push(revision);
  }

  /** Sends what could not be sent. Returns whether there was something. */
  async resend() {
    const make = this.unsent;
    if (!make) return false;
    this.unsent = null;
    await this.send(make);
    if (!this.unsent) notice("");
    return true;
  }

  /** What became of the file. @param {SaveState} state */
  written(state) {
    if (state.state === "changed-on-disk") {
      this.disk(state.copy);
    } else if (state.state === "failed") {
      saved("Not saved", "bad");
      notice("The review cannot be written, and descry keeps trying: " + state.why);
      this.unwritten = true;
    } else if (this.unwritten) {
      this.unwritten = false;
      saved("Saved", "good");
      notice("");
    }
  }
}
