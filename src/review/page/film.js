// The film: the file itself where the browser plays it, or else what descry makes of it while it plays.

/** How far ahead of the position the film is fetched, in seconds, and how much behind it is kept. */
const AHEAD = 20;
const BEHIND = 30;
const TYPES = { sound: 'video/webm; codecs="vp8,opus"', silent: 'video/webm; codecs="vp8"' };

/** @import {FilmInfo} from "./types.d.ts" */

export class Film {
  /**
   * @param {HTMLVideoElement} video
   * @param {FilmInfo} film
   * @param {(words: string) => void} failed is called when the film cannot be played
   */
  constructor(video, film, failed) {
    this.video = video;
    this.duration = film.duration ?? 0;
    this.failed = failed;
    this.type = "";
    /** Where the film is to be once its first frame is known. @type {number | undefined} */
    this.wanted = undefined;
    /** @type {MediaSource | undefined} */
    this.source = undefined;
    /** @type {SourceBuffer | undefined} */
    this.buffer = undefined;
    /** The part of the film that is fetched. @type {AbortController | undefined} */
    this.fetching = undefined;
    /** Goes on with fetching. @type {((value?: unknown) => void) | undefined} */
    this.wake = undefined;
    /** @type {number | undefined} */
    this.later = undefined;
    if (film.playback === "file") {
      video.src = "film";
      // Some systems lack a codec that others have.
      video.addEventListener("error", () => this.convert(film), { once: true });
    } else {
      this.convert(film);
    }
  }

  /** @param {FilmInfo} film */
  convert(film) {
    this.type = film.has_sound ? TYPES.sound : TYPES.silent;
    if (!window.MediaSource || !MediaSource.isTypeSupported(this.type)) {
      this.failed("This browser cannot play the film. Use a current Firefox, Chromium or Safari.");
      return;
    }
    const source = (this.source = new MediaSource());
    source.addEventListener("sourceopen", () => {
      URL.revokeObjectURL(this.video.src);
      if (this.duration) source.duration = this.duration;
      this.buffer = source.addSourceBuffer(this.type);
      this.fetchFrom(this.wanted ?? 0);
    }, { once: true });
    this.video.src = URL.createObjectURL(source);
    this.video.addEventListener("seeking", () => this.seeked());
    this.video.addEventListener("timeupdate", () => this.wake?.());
  }

  get time() {
    return this.wanted ?? this.video.currentTime;
  }

  /** @param {number} time */
  seek(time) {
    const to = Math.max(0, this.duration ? Math.min(time, this.duration - 0.05) : time);
    if (this.video.readyState === 0) this.wanted = to;
    else this.wanted = undefined;
    this.video.currentTime = to;
  }

  /** After a jump to where nothing is fetched. */
  seeked() {
    if (!this.buffer) return;
    const at = this.video.currentTime;
    const { buffered } = this.buffer;
    for (let n = 0; n < buffered.length; n++) {
      if (buffered.start(n) - 0.1 <= at && at < buffered.end(n) - 0.1) return;
    }
    clearTimeout(this.later);
    // Somebody who drags the slider passes many places.
    this.later = setTimeout(() => this.fetchFrom(at), 120);
  }

  /** Fetches the film from a time on, as far ahead of its position as is needed. @param {number} at */
  async fetchFrom(at) {
    const { buffer, source } = this;
    if (!buffer || !source) return;
    this.fetching?.abort();
    const fetching = (this.fetching = new AbortController());
    const over = () => fetching.signal.aborted;
    try {
      await settled(buffer);
      if (over()) return;
      buffer.abort();
      if (buffer.buffered.length) {
        buffer.remove(0, Infinity);
        await settled(buffer);
      }
      const answer = await fetch("film.webm?from=" + at.toFixed(3), { signal: fetching.signal });
      if (!answer.ok || !answer.body) throw new Error(await answer.text());
      const reader = answer.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (over()) return;
        if (done) break;
        await settled(buffer);
        buffer.appendBuffer(value);
        await settled(buffer);
        this.forget(buffer);
        while (!over() && endOf(buffer) - this.video.currentTime > AHEAD) {
          await new Promise((wake) => (this.wake = wake));
        }
      }
      await settled(buffer);
      if (!over() && source.readyState === "open") source.endOfStream();
    } catch (e) {
      if (!over()) this.failed(e instanceof Error ? e.message : String(e));
    }
  }

  /** Keeps memory small. @param {SourceBuffer} buffer */
  forget(buffer) {
    const until = this.video.currentTime - BEHIND;
    const { buffered } = buffer;
    if (buffered.length && buffered.start(0) < until - BEHIND) buffer.remove(0, until);
  }
}

/** Up to when something is buffered. @param {SourceBuffer} buffer */
function endOf({ buffered }) {
  return buffered.length ? buffered.end(buffered.length - 1) : 0;
}

/** Waits until a buffer takes more. @param {SourceBuffer} buffer */
function settled(buffer) {
  if (!buffer.updating) return Promise.resolve();
  return new Promise((done) => buffer.addEventListener("updateend", done, { once: true }));
}
