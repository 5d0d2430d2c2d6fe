// What /events sends. For the type check of the script alone: the page does not load it.

export interface LiveEvent {
  stream: string;
  /** Position among the stream's events. */
  number: number;
  /** Position of the stream. */
  index: number;
  at: string;
}

export interface CaptionEvent extends LiveEvent {
  wall: string;
  say: string;
  returning: boolean;
  picture: boolean;
}

export interface StateEvent extends LiveEvent {
  state: string;
  reason: string | null;
}

export interface DroppedEvent extends LiveEvent {
  keyframes: number;
  frames: number;
}

export interface StreamNumbers {
  name: string;
  state: string;
  reason: string | null;
  ended: boolean;
  lag: { page?: { p50: number; p95: number } };
  frames: number;
  captions: number;
  frames_dropped: { overload: number; server: number };
  reconnects: Record<string, number>;
}

export interface Status {
  model: string;
  streams: StreamNumbers[];
}

export interface Snapshot {
  /** Names the run of descry: a restarted one counts from 0 again. */
  run: string | number;
  streams: { name: string; state: string; reason: string | null; ended: boolean; captions: CaptionEvent[] }[];
  status: Status;
}
