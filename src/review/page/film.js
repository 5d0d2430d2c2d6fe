// The film: the file itself where the browser plays it, or else what descry makes of it while it plays.

/** How far ahead of the position the film is fetched, in seconds, and how much behind it is kept. */
const AHEAD = 20;
const BEHIND = 30;
const TYPES = ['video/webm; codecs="vp8,opus"', 'video/webm; codecs="vp8"'];

export class Film {
  /** @param {HTMLVideoElement} video */
  constructor(video, film) {
    this.video = video;
    this.duration = film.duration ?? 0;
    this.failed = () => {};
    if (film.playback === "file") {
      video.src = "/film";
      // Some systems lack a codec that others have.
      video.addEventListener("error", () => this.convert(film), { once: true });
    } else {
      this.convert(film);
    }
  }

  convert(film) {
    this.type = TYPES[film.has_sound ? 0 : 1];
    if (!window.MediaSource || !MediaSource.isTypeSupported(this.type)) {
      this.failed("This browser cannot play the film. Use a current Firefox, Chromium or Safari.");
      return;
    }
    this.source = new MediaSource();
    this.source.addEventListener("sourceopen", () => {
      URL.revokeObjectURL(this.video.src);
      if (this.duration) this.source.duration = this.duration;
      this.buffer = this.source.addSourceBuffer(this.type);
      this.fetchFrom(this.wanted ?? 0);
    }, { once: true });
    this.video.src = URL.createObjectURL(this.source);
    this.video.addEventListener("seeking", () => this.seeked());
    this.video.addEventListener("timeupdate", () => this.wake?.());
  }

  get time() {
    return this.wanted ?? this.video.currentTime;
  }

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

  async fetchFrom(at) {
    this.fetching?.abort();
    const fetching = (this.fetching = new AbortController());
    const over = () => fetching.signal.aborted;
    try {
      await this.settle();
      if (over()) return;
      this.buffer.abort();
      if (this.buffer.buffered.length) {
        this.buffer.remove(0, Infinity);
        await this.settle();
      }
      const answer = await fetch("/film.webm?from=" + at.toFixed(3), { signal: fetching.signal });
      if (!answer.ok) throw new Error(await answer.text());
      const reader = answer.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (over()) return;
        if (done) break;
        await this.settle();
        this.buffer.appendBuffer(value);
        await this.settle();
        this.forget();
        while (!over() && this.end() - this.video.currentTime > AHEAD) {
          await new Promise((wake) => (this.wake = wake));
        }
      }
      if (!over() && this.source.readyState === "open") this.source.endOfStream();
    } catch (e) {
      if (!over()) this.failed(String(e.message ?? e));
    }
  }

  end() {
    const { buffered } = this.buffer;
    return buffered.length ? buffered.end(buffered.length - 1) : 0;
  }

  /** Keeps memory small. */
  forget() {
    const until = this.video.currentTime - BEHIND;
    const { buffered } = this.buffer;
    if (buffered.length && buffered.start(0) < until - BEHIND) this.buffer.remove(0, until);
  }

  settle() {
    if (!this.buffer.updating) return Promise.resolve();
    return new Promise((done) => this.buffer.addEventListener("updateend", done, { once: true }));
  }
}
