// Puts the parts of the page together, and shows what changes.

/** @import {EditReport, Loaded} from "./types.d.ts" */

import { actions } from "./actions.js";
import { around } from "./around.js";
import { Candidates } from "./candidates.js";
import { cueConflict, fileConflict } from "./conflict.js";
import { dialogs } from "./dialogs.js";
import { CueEditor } from "./editor.js";
import { Edits } from "./edits.js";
import { any, button, find } from "./elements.js";
import { Film } from "./film.js";
import { finder } from "./finder.js";
import { listen } from "./keys.js";
import { CueList } from "./list.js";
import { Player } from "./player.js";
import * as server from "./server.js";
import { Review } from "./state.js";
import { notice, saved } from "./status.js";
import { TimelineView } from "./timeline.js";
import { Voice } from "./voice.js";

/** @type {Record<string, Exclude<keyof import("./types.d.ts").Act, "select" | "move">>} */
const BUTTONS = {
  "undo": "undo", "redo": "redo", "play": "play", "play-cue": "playCue", "start-here": "startHere", "end-here": "endHere",
  "snap": "snap", "to-pause": "toPause", "check": "check", "split": "split", "merge": "merge", "delete": "remove",
  "add": "add", "say": "say", "again": "again",
};

/** @param {Loaded} loaded */
function begin(loaded) {
  const review = new Review(loaded);
  const film = new Film(find("video", HTMLVideoElement), loaded.film, notice);
  const edits = new Edits(review);
  const editor = new CueEditor(review, edits);
  const list = new CueList(review, (id) => act.select(id, true));
  const timeline = new TimelineView(review, {
    seek: (time) => film.seek(time),
    select: (id, focus) => act.select(id, focus),
    move: (id, to) => act.move(id, to),
    frame: () => player.frame,
  });
  const player = new Player(review, film, (time) => timeline.show(time));
  const candidates = new Candidates(review, edits, editor, () => film.time);

  const refresh = () => {
    editor.show();
    timeline.draw();
    counts(review);
  };
  const act = actions({ review, edits, editor, list, player, candidates, voice: new Voice(review), refresh });

  /** Takes what has changed into the page. @param {EditReport} report */
  const took = (report) => {
    const before = review.selected;
    const focus = list.list.contains(document.activeElement);
    const touched = review.change(report);
    if (touched.length === 0) return;
    list.update(touched);
    review.selected ??= nearest(review, film.time);
    // The list stays where it is while somebody else edits other cues.
    if (review.selected !== before || touched.includes(before ?? -1)) list.select(focus);
    refresh();
  };
  const reload = async () => {
    const loaded = await server.load();
    review.take(loaded);
    editor.forget();
    list.rows.clear();
    list.show();
    review.selected ??= nearest(review, film.time);
    list.select(false);
    refresh();
    saved("Saved", "good");
  };
  edits.took = took;
  edits.refused = () => editor.show();
  edits.conflict = (body, edit) => {
    editor.forget();
    cueConflict(edits, body, edit, () => editor.show());
  };
  edits.disk = (copy) => fileConflict(copy, reload);

  dialogs(review, edits, editor);
  finder(review, edits, (id) => act.select(id, false));
  for (const [id, name] of Object.entries(BUTTONS)) button(id).addEventListener("click", () => act[name](undefined));
  listen(act);
  player.tick();
  refresh();
  saved("Saved", "good");
  edits.written(loaded.saved);
  around(loaded);
  waveform(timeline);
  follow(review, edits, { took, reload, waveform: () => waveform(timeline) });
}

/** The cue at a position of the film, or before it. @param {Review} review @param {number} time */
function nearest(review, time) {
  return (review.cues.findLast((cue) => cue.start <= time) ?? review.cues[0])?.id ?? null;
}

/** @param {Review} review */
function counts(review) {
  const checked = review.cues.filter((cue) => cue.checked).length;
  const warned = review.cues.filter((cue) => review.known(cue.id).warnings.length).length;
  any("progress").textContent = `${review.cues.length} cues, ${checked} checked, ${warned} with warnings`;
  button("undo").disabled = review.done.length === 0;
  button("redo").disabled = review.undone.length === 0;
}

/** @param {TimelineView} timeline */
async function waveform(timeline) {
  const answer = await fetch("waveform").catch(() => null);
  if (!answer?.ok) return;
  timeline.rate = Number(answer.headers.get("Descry-Rate"));
  timeline.peaks = new Uint8Array(await answer.arrayBuffer());
  timeline.draw();
}

/**
 * Follows what others change, and what becomes of descry.
 * @param {Review} review
 * @param {Edits} edits
 * @param {{took: (report: EditReport) => void, reload: () => Promise<void>, waveform: () => void}} on
 */
function follow(review, edits, on) {
  server.follow({
    change: on.took,
    saved: (state) => edits.written(state),
    waveform: on.waveform,
    document: on.reload,
    connected: async (is) => {
      if (!is) {
        saved("descry does not answer", "bad");
      } else if (!(await edits.resend())) {
        const { document } = await server.load();
        if (document.revision !== review.revision) await on.reload();
        else saved("Saved", "good");
      }
    },
  });
}

async function start() {
  const loaded = await server.load();
  any("film-name").textContent = loaded.film.name;
  document.title = loaded.film.name + " – descry review";
  begin(loaded);
}

start().catch((e) => {
  notice(e.message);
  saved("Not loaded", "bad");
});
