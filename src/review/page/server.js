// Talks to descry. One edit is under way at a time, so that each one knows the versions that the one before has made.

/** @import {Candidate, Edit, EditReport, Loaded, PastChange, Refusal, SaveState} from "./types.d.ts" */

/** An answer that is not what was asked for. */
export class Refused extends Error {
  /** @param {number} status @param {Refusal} body */
  constructor(status, body) {
    super(body.error ?? "descry does not answer as expected.");
    this.status = status;
    this.body = body;
  }
}

/** @param {string} path @param {unknown} body @param {AbortSignal} [signal] */
function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

/** @param {Response} answer */
async function read(answer) {
  const type = answer.headers.get("Content-Type") ?? "";
  const body = type.startsWith("application/json") ? await answer.json() : { error: await answer.text() };
  if (!answer.ok) throw new Refused(answer.status, body);
  return body;
}

/** @returns {Promise<Loaded>} */
export const load = async () => read(await fetch("api/review"));
/** @returns {Promise<{changes: PastChange[]}>} */
export const history = async () => read(await fetch("api/history"));
/** @param {"mine" | "theirs"} take */
export const choose = async (take) => read(await post("api/disk", { take }));

/**
 * Describes the frame at a time and those around it.
 * @param {number} at
 * @param {string | null} prompt
 * @param {AbortSignal} signal
 * @returns {Promise<{candidates: Candidate[]}>}
 */
export const describe = async (at, prompt, signal) => read(await post("api/describe", { at, prompt }, signal));

/**
 * A text as sound.
 * @param {string} text
 * @param {AbortSignal} signal
 */
export async function speak(text, signal) {
  const answer = await post("api/speak", { text }, signal);
  return answer.ok ? answer.blob() : read(answer);
}

/** @type {Promise<unknown>} */
let last = Promise.resolve();

/**
 * Sends an edit after those before it. `make` gives it, or null, when its turn has come.
 * @param {() => Edit | null} make
 * @param {string} who
 * @returns {Promise<EditReport | null>}
 */
export function edit(make, who) {
  const sent = last.then(async () => {
    const edit = make();
    return edit && read(await post("api/edit", { edit, who }));
  });
  last = sent.catch(() => {});
  return sent;
}

/** Sends an edit while the page closes. @param {Edit} edit @param {string} who */
export function editLast(edit, who) {
  const headers = { "Content-Type": "application/json" };
  fetch("api/edit", { method: "POST", keepalive: true, headers, body: JSON.stringify({ edit, who }) });
}

/**
 * Follows what others change.
 * @param {{
 *   change: (report: EditReport) => void, saved: (state: SaveState) => void, waveform: () => void, document: () => void,
 *   connected: (is: boolean) => void,
 * }} on
 */
export function follow(on) {
  const events = new EventSource("api/events");
  /** @param {string} kind @param {(data: any) => void} take */
  const listen = (kind, take) =>
    events.addEventListener(kind, (e) => take(JSON.parse(/** @type {MessageEvent<string>} */ (e).data)));
  listen("change", on.change);
  listen("saved", on.saved);
  listen("disk", on.saved);
  listen("waveform", on.waveform);
  listen("document", on.document);
  events.onopen = () => on.connected(true);
  events.onerror = () => on.connected(false);
}
