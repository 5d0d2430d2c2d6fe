// What keys and buttons do.

/** @import {Cue, Stretch} from "./types.d.ts" */
/** @import {Candidates} from "./candidates.js" */
/** @import {CueEditor} from "./editor.js" */
/** @import {Edits} from "./edits.js" */
/** @import {CueList} from "./list.js" */
/** @import {Player} from "./player.js" */
/** @import {Review} from "./state.js" */
/** @import {Voice} from "./voice.js" */

import { dialog, find } from "./elements.js";
import { TICK, round, seen } from "./state.js";
import { announce } from "./status.js";

/**
 * @typedef {object} Parts the parts of the page
 * @property {Review} review
 * @property {Edits} edits
 * @property {CueEditor} editor
 * @property {CueList} list
 * @property {Player} player
 * @property {Candidates} candidates
 * @property {Voice} voice
 * @property {() => void} refresh shows what is selected and how many cues there are
 */

/** @param {Parts} parts */
export function actions(parts) {
  const { review, edits, editor, list, player, candidates, voice } = parts;
  const { film } = player;

  /** Does something with the selected cue, if there is one. @param {(cue: Cue) => unknown} act */
  const withCue = (act) => () => {
    const cue = review.current();
    if (cue) act(cue);
  };

  /** @param {number} id @param {boolean} focus */
  const select = (id, focus) => {
    if (id === review.selected && !focus) return;
    editor.leave();
    review.selected = id;
    list.select(focus);
    candidates.close();
    const cue = review.current();
    if (cue && (film.time < cue.start || film.time >= cue.end)) film.seek(cue.start + TICK);
    parts.refresh();
  };

  /** @param {number} by */
  const step = (by) => {
    const to = list.after(by);
    if (to) select(to.id, true);
  };

  /**
   * Goes to the next cue that has something, from the selected one on, round the end.
   * @param {(cue: Cue) => boolean} has
   * @param {string} none is announced if no cue has it
   */
  const goTo = (has, none) => {
    const { cues } = review;
    const at = review.place(review.selected);
    for (let n = 1; n <= cues.length; n++) {
      const cue = cues[(at + n) % cues.length];
      if (!cue || !has(cue)) continue;
      if (!list.has(cue.id)) list.showAll();
      select(cue.id, true);
      return;
    }
    announce(none);
  };

  /** @param {number} id @param {(cue: Cue) => Stretch} to */
  const move = (id, to) => edits.change(id, (cue) => {
    const { start, end } = to(cue);
    return { start: round(start), end: round(end) };
  });

  /** @param {KeyboardEvent | undefined} e */
  const stride = (e) => (e?.shiftKey ? player.frame : 1);

  return {
    select,
    move,
    next: () => step(1),
    previous: () => step(-1),
    first: () => step(-Infinity),
    last: () => step(Infinity),
    warned: () => goTo((cue) => review.known(cue.id).warnings.length > 0, "No cue has a warning."),
    open: () => goTo((cue) => !cue.checked, "All cues are checked."),
    play: () => player.toggle(),
    playCue: withCue((cue) => player.playCue(cue)),
    back: (/** @type {KeyboardEvent | undefined} */ e) => film.seek(film.time - stride(e)),
    forward: (/** @type {KeyboardEvent | undefined} */ e) => film.seek(film.time + stride(e)),
    edit: withCue(() => editor.focus()),
    leave: () => {
      editor.flush();
      list.select(true);
    },
    finish: async () => {
      await editor.flush();
      list.select(true);
    },
    check: withCue(async ({ id, checked }) => {
      await editor.flush();
      const report = await edits.send(() => {
        const now = review.cue(id);
        return now ? { do: "check", cues: [seen(now)], checked: !checked } : null;
      }, checked ? "Not checked" : "Checked");
      if (report && !checked) step(1);
    }),
    remove: withCue(async ({ id }) => {
      const after = list.neighbour(id);
      editor.forget();
      const report = await edits.send(() => {
        const now = review.cue(id);
        return now ? { do: "delete", cues: [seen(now)] } : null;
      }, "Deleted");
      if (report && after) select(after.id, true);
    }),
    split: withCue(async (cue) => {
      await editor.flush();
      const inside = film.time > cue.start + 0.1 && film.time < cue.end - 0.1;
      const at = round(inside ? film.time : (cue.start + cue.end) / 2);
      const [first, second] = editor.halves();
      await edits.send(() => {
        const now = review.cue(cue.id);
        return now ? { do: "split", cue: seen(now), at, first, second } : null;
      }, "Split");
    }),
    merge: withCue(async ({ id }) => {
      await editor.flush();
      await edits.send(() => {
        const now = review.cue(id);
        const next = review.cues[review.place(id) + 1];
        return now && next ? { do: "merge", first: seen(now), second: seen(next) } : null;
      }, "Merged");
    }),
    add: async () => {
      const start = round(film.time);
      const next = review.cues.find((cue) => cue.start > start + 0.1);
      const end = round(Math.min(start + 3, next?.start ?? Infinity, review.film.duration ?? Infinity));
      const report = await edits.send(() => ({ do: "add", start, end, text: "" }), "Added");
      const added = report?.changed[0];
      if (added) {
        select(added.id, false);
        editor.text.focus();
      }
    },
    startHere: withCue((cue) => edits.change(cue.id, { start: round(film.time) })),
    endHere: withCue((cue) => edits.change(cue.id, { end: round(film.time) })),
    snap: withCue((cue) => {
      const [start, end] = [review.snap(cue.start) ?? cue.start, review.snap(cue.end) ?? cue.end];
      if (end <= start || (start === cue.start && end === cue.end)) announce("No cut or pause is near.");
      else move(cue.id, () => ({ start, end }));
    }),
    toPause: withCue(async (cue) => {
      await editor.flush();
      const pause = review.pauseFor(cue);
      if (!review.pauses) announce("Where somebody talks in this film is not known.");
      else if (!pause) announce("No pause has room for this description. Shorten it first.");
      else if (pause.start === cue.start && pause.end === cue.end) announce("The cue is in a pause.");
      else await move(cue.id, () => pause);
    }),
    earlier: withCue((cue) => move(cue.id, ({ start, end }) => ({ start: start - 0.1, end: end - 0.1 }))),
    later: withCue((cue) => move(cue.id, ({ start, end }) => ({ start: start + 0.1, end: end + 0.1 }))),
    say: withCue(() => voice.say(editor.text.value)),
    again: withCue(() => candidates.open()),
    undo: async () => {
      await editor.flush();
      editor.continued = null;
      await edits.undo("done", "Undone");
      parts.refresh();
    },
    redo: async () => {
      await editor.flush();
      editor.continued = null;
      await edits.undo("undone", "Done again");
      parts.refresh();
    },
    find: () => dialog("find").showModal(),
    board: () => {
      const layout = find("layout", HTMLSelectElement);
      layout.value = layout.value === "list" ? "storyboard" : "list";
      list.lay();
    },
    help: () => dialog("help").showModal(),
  };
}
