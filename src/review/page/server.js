// Talks to descry. One edit is under way at a time, so that each one knows the versions that the one before has made.

/** An answer that is not what was asked for. */
export class Refused extends Error {
  constructor(status, body) {
    super(body.error ?? "descry does not answer as expected.");
    this.status = status;
    this.body = body;
  }
}

async function ask(path, body) {
  const post = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  const answer = await fetch(path, post);
  const type = answer.headers.get("Content-Type") ?? "";
  const read = type.startsWith("application/json") ? await answer.json() : { error: await answer.text() };
  if (!answer.ok) throw new Refused(answer.status, read);
  return read;
}

export const load = () => ask("/api/review");
export const history = () => ask("/api/history");
export const describe = (at, prompt) => ask("/api/describe", { at, prompt });
export const choose = (take) => ask("/api/disk", { take });

let last = Promise.resolve();

/** Sends an edit after those before it. `make` gives it, or null, when its turn has come. */
export function edit(make, who) {
  const sent = last.then(async () => {
    const edit = make();
    return edit && ask("/api/edit", { edit, who });
  });
  last = sent.catch(() => {});
  return sent;
}

/** Follows what others change. */
export function follow(on) {
  const events = new EventSource("/api/events");
  for (const kind of ["change", "saved", "disk", "waveform", "document"]) {
    events.addEventListener(kind, (e) => on[kind](JSON.parse(e.data)));
  }
  events.onopen = () => on.connected(true);
  events.onerror = () => on.connected(false);
}
