// What the server sends, as its structures in src/review have it. Times are seconds. For the type check of the scripts alone:
// the page does not load it.

export interface Stretch {
  start: number;
  end: number;
}

export interface MachineCue extends Stretch {
  text: string;
  scene?: number;
}

export interface Cue extends Stretch {
  id: number;
  text: string;
  checked: boolean;
  note?: string;
  version: number;
  machine?: MachineCue;
}

/** What is known of a cue. */
export interface Facts {
  reading: number;
  speaking: number;
  score: number | null;
  warnings: string[];
}

export interface SceneMark extends Stretch {
  keyframe: number;
  transition: string;
  text: string | null;
  score: number | null;
  said: boolean;
}

export interface TextMark extends Stretch {
  text: string;
  kind: string;
}

/** The lanes; null where something is not known. */
export interface Lanes {
  scenes: SceneMark[] | null;
  speech: Stretch[] | null;
  text: TextMark[] | null;
}

export interface Term {
  term: string;
  note: string;
}

export interface ReviewDocument {
  revision: number;
  language: string;
  cues: Cue[];
  glossary: Term[];
  notes: string;
  timeline: Lanes;
}

/** What describes frames again. */
export interface FrameModel {
  name: string;
  /** What it is asked; null if it takes no prompt. */
  prompt: string | null;
}

export interface FilmInfo {
  name: string;
  playback: "file" | "preview";
  duration: number | null;
  frame_rate: number | null;
  has_sound: boolean;
  /** Part of the addresses of its pictures: another film has another key. */
  key: string;
  model: FrameModel | null;
  /** The program that speaks cues; null if the browser does. */
  voice: string | null;
}

export type SaveState =
  | { state: "saved"; revision: number }
  | { state: "failed"; why: string }
  | { state: "changed-on-disk"; copy: string };

/** Everything that a page needs to begin. */
export interface Loaded {
  document: ReviewDocument;
  /** In the order of the cues. */
  facts: Facts[];
  rules: { pace: number; reading_speed: number };
  limits: { text: number; note: number };
  film: FilmInfo;
  /** Where a description fits; null if speech is not known. */
  pauses: Stretch[] | null;
  saved: SaveState;
  /** Whether the page is one of many, of an archive. */
  in_archive: boolean;
  /** What became of the review when the film was described again; null if it was not. */
  renewal: Renewal | null;
  /** What goes on with the review. */
  commands: { what: string; command: string }[];
}

export interface Renewal {
  kept: number;
  replaced: number;
  new: number;
}

export interface EditReport {
  revision: number;
  change: { what: string; who: string; time: string; of: number | null } | null;
  replaced: number | null;
  changed: Cue[];
  removed: number[];
  facts: Record<string, Facts>;
  glossary: Term[] | null;
  notes: string | null;
}

/** A cue as this page saw it. */
export interface SeenCue {
  id: number;
  version: number;
}

export interface NewParts {
  start?: number;
  end?: number;
  text?: string;
  note?: string;
}

export interface ChangeEdit {
  do: "change";
  cue: SeenCue;
  to: NewParts;
  continues?: number;
}

export type Edit =
  | ChangeEdit
  | { do: "split"; cue: SeenCue; at: number; first: string; second: string }
  | { do: "merge"; first: SeenCue; second: SeenCue }
  | { do: "delete"; cues: SeenCue[] }
  | { do: "add"; start: number; end: number; text: string }
  | { do: "check"; cues: SeenCue[]; checked: boolean }
  | { do: "replace"; find: string; with: string; match_case: boolean; whole_words: boolean }
  | { do: "glossary"; terms: Term[]; seen: number }
  | { do: "notes"; notes: string; seen: number }
  | { do: "undo"; revision: number };

export interface PastChange {
  revision: number;
  time: string;
  who: string;
  what: string;
  words: string;
}

/** A description of a frame. */
export interface Candidate {
  text: string;
  score: number | null;
  /** The time of its frame less the time that was asked for. */
  offset: number;
}

/** The body of an answer that refuses something. */
export interface Refusal {
  error?: string;
  /** Of a conflict: the cues as they are now. */
  cues?: (Cue | { id: number; deleted: true })[];
}

/** What keys, buttons and the timeline ask for. */
export type Act = ReturnType<typeof import("./actions.js").actions>;
