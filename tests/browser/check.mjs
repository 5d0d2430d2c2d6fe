// Plays descry's HLS playlists, of text and of spoken descriptions, in hls.js, opens the page of a live run, a transcript,
// a page of search results and the components of all pages, and plays a track of descriptions in video.js, in headless Chromium.
// `node check.mjs live_outputs descry [FOLDER]`: the built example and program; with a folder, screenshots stay there.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createReadStream, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, dirname, extname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const [example, descry, shots] = process.argv.slice(2);
const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const resolve = createRequire(import.meta.url).resolve;
const hlsjs = join(dirname(resolve("hls.js")), "hls.min.js");
const videojs = join(dirname(resolve("video.js/package.json")), "dist/video.min.js");
const axe = readFileSync(resolve("axe-core/axe.min.js"), "utf8");
const folder = mkdtempSync(join(tmpdir(), "descry-browser-"));
const PART = 8;

/** Of a segment's pictures, on its own clock. */
function firstTime(segment) {
  const args = ["-v", "error", "-select_streams", "v", "-show_entries", "packet=pts", "-read_intervals", "%+#1", "-of", "csv=p=0", segment];
  return execFileSync("ffprobe", args, { cwd: folder, encoding: "utf8" }).trim().split(/[,\n]/)[0];
}

/** A video of two parts of 8 s, whose clock jumps in between. Returns the first time of each, in 90 kHz. */
function video() {
  const first = [];
  const lines = [];
  for (const [i, offset] of [[0, 3_600], [1, 50]]) {
    execFileSync("ffmpeg", ["-v", "error", "-f", "lavfi", "-i", `testsrc2=size=320x180:rate=25:duration=${PART}`,
      "-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-sc_threshold", "0", "-bf", "0", "-output_ts_offset", `${offset}`,
      "-f", "hls", "-hls_time", "2", "-hls_list_size", "0", "-hls_segment_filename", `part${i}-%d.ts`, `part${i}.m3u8`], { cwd: folder });
    first.push(firstTime(`part${i}-0.ts`));
    if (i > 0) lines.push("#EXT-X-DISCONTINUITY");
    lines.push(...readFileSync(join(folder, `part${i}.m3u8`), "utf8").split("\n").filter((l) => l.startsWith("#EXTINF") || l.endsWith(".ts")));
  }
  writeFileSync(join(folder, "video.m3u8"), ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:2", "#EXT-X-MEDIA-SEQUENCE:0",
    ...lines, "#EXT-X-ENDLIST", ""].join("\n"));
  return first;
}

const PLAYER = `<!doctype html><meta charset="utf-8"><video></video><script src="/hls.js"></script><script>
const video = document.querySelector("video");
window.seen = [];
window.got = {};
setInterval(() => { for (const cue of window.track?.cues ?? []) window.got[cue.text] ??= Date.now() / 1e3; }, 50);
window.errors = [];
const hls = window.hls = new Hls();
hls.on(Hls.Events.ERROR, (_, e) => window.errors.push((e.fatal ? "fatal " : "") + e.details + " " + (e.reason ?? e.error?.message ?? "")));
window.audioErrors = [];
hls.on(Hls.Events.ERROR, (_, e) => { if (e.fatal || e.frag?.type === "audio" || /audio/i.test(e.details)) window.audioErrors.push(e.details); });
hls.on(Hls.Events.SUBTITLE_TRACKS_UPDATED, () => { window.unasked ??= hls.subtitleTrack; hls.subtitleTrack = 0; hls.subtitleDisplay = true; });
video.textTracks.onaddtrack = ({ track }) => {
  window.track = track;
  track.mode = "showing";
  track.oncuechange = () => {
    for (const cue of track.activeCues) window.seen.push([video.currentTime, cue.startTime, cue.text, +(hls.playingDate ?? 0) / 1e3]);
  };
};
video.muted = location.hash !== "#described";
window.fragments = [];
hls.on(Hls.Events.FRAG_BUFFERED, (_, { frag }) => window.fragments.push({ type: frag.type, url: frag.url, start: frag.startPTS ?? frag.start }));
hls.on(Hls.Events.AUDIO_TRACKS_UPDATED, () => { if (location.hash === "#described") hls.audioTrack = 1; });
if (location.hash === "#described") {
  // What is heard, at its loudest.
  window.level = 0;
  const context = new AudioContext();
  const meter = context.createAnalyser();
  context.createMediaElementSource(video).connect(meter);
  meter.connect(context.destination);
  const samples = new Float32Array(meter.fftSize);
  setInterval(() => { meter.getFloatTimeDomainData(samples); window.level = Math.max(window.level, ...samples.map(Math.abs)); }, 100);
}
hls.loadSource("/master.m3u8");
hls.attachMedia(video);
if (location.hash === "#fast") video.playbackRate = 2;
hls.on(Hls.Events.MANIFEST_PARSED, () => video.play());
</script>`;

function serve() {
  const types = {
    ".m3u8": "application/vnd.apple.mpegurl", ".ts": "video/mp2t", ".vtt": "text/vtt", ".aac": "audio/aac", ".mp4": "video/mp4",
  };
  const server = createServer((request, answer) => {
    const name = basename(new URL(request.url, "http://x").pathname);
    if (name === "videojs") return answer.writeHead(200, { "Content-Type": "text/html" }).end(VIDEOJS);
    if (name === "") return answer.writeHead(200, { "Content-Type": "text/html" }).end(PLAYER);
    const file = { "hls.js": hlsjs, "videojs.js": videojs }[name] ?? join(folder, name);
    if (!existsSync(file)) return answer.writeHead(404).end();
    answer.writeHead(200, { "Content-Type": types[extname(name)] ?? "text/javascript" });
    createReadStream(file).pipe(answer);
  });
  return new Promise((done) => server.listen(0, "127.0.0.1", () => done(server)));
}

async function hls(browser) {
  const [first, second] = video();
  execFileSync(example, ["hls", folder, "video.m3u8", first, `${PART}`, second, `${PART}`]);
  const server = await serve();
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/#fast`);
  await page.waitForFunction(() => document.querySelector("video").ended, null, { timeout: 60_000 }).catch(() => {});
  const { unasked, seen, errors, cues, time } = await page.evaluate(() => ({
    unasked: window.unasked, seen: window.seen, errors: window.errors, time: document.querySelector("video").currentTime,
    cues: [...(window.track?.cues ?? [])].map((c) => [c.startTime, c.endTime, c.text]),
  }));
  assert.deepEqual(errors, []);
  assert.equal(unasked, -1, "the descriptions are on before anyone has asked for them");
  assert.ok(time > 2 * PART - 0.5, `the video stopped at ${time}`);
  // Every 2.5 s from 0.5 s on, each once, though a cue stands in two segments where it crosses a boundary.
  const starts = Array.from({ length: 7 }, (_, i) => 0.5 + i * 2.5).filter((t) => t < 2 * PART);
  assert.equal(cues.length, starts.length, JSON.stringify(cues));
  for (const [i, start] of starts.entries()) {
    const text = `A dog at second ${Math.floor(start)}.`;
    assert.equal(cues[i][2], text);
    assert.ok(Math.abs(cues[i][0] - start) < 0.05, `${text} starts at ${cues[i][0]} of the video`);
    const shown = seen.filter(([, , t]) => t === text).map(([at]) => at);
    assert.ok(shown.length > 0 && shown[0] - start > -0.1 && shown[0] - start < 1, `${text} was shown at ${shown}`);
  }
  await page.close();
  server.close();
  console.log(`ok: hls.js shows ${cues.length} cues at their times, across a jump of the video's clock`);
}

/** Both playlists roll. */
async function rolling(browser) {
  for (const name of readdirSync(folder)) rmSync(join(folder, name));
  const camera = spawn("ffmpeg", ["-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-c:v", "libx264",
    "-preset", "ultrafast", "-g", "50", "-sc_threshold", "0", "-bf", "0", "-output_ts_offset", "95440", "-f", "hls", "-hls_time", "2",
    "-hls_list_size", "6", "-hls_flags", "delete_segments+program_date_time", "video.m3u8"], { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
  process.on("exit", () => camera.kill("SIGKILL"));
  const playlist = join(folder, "video.m3u8");
  while (!existsSync(playlist)) await new Promise((done) => setTimeout(done, 50));
  const began = Date.parse(/DATE-TIME:(\S+)/.exec(readFileSync(playlist, "utf8"))[1].replace(/([+-]\d\d)(\d\d)$/, "$1:$2")) / 1e3;
  const first = firstTime("video0.ts");
  const run = spawn(example, ["hls-live", folder, "video.m3u8", first, `${began}`, "60"], { stdio: "inherit" });
  process.on("exit", () => run.kill("SIGKILL"));
  while (!existsSync(join(folder, "descriptions.m3u8"))) await new Promise((done) => setTimeout(done, 50));
  const server = await serve();
  const page = await browser.newPage();
  await new Promise((done) => setTimeout(done, 6_000));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.waitForFunction(() => new Set(window.seen.map((s) => s[2])).size >= 6, null, { timeout: 40_000 }).catch(() => {});
  const { seen, errors, got } = await page.evaluate(() => ({ seen: window.seen, errors: window.errors, got: window.got }));
  // At the live edge a player waits and thinks again; the playlist and its segments must give it no reason to complain.
  assert.deepEqual(errors.filter((e) => /fatal|subtitle|frag|level|manifest/i.test(e)), []);
  const texts = [...new Set(seen.map((s) => s[2]))];
  assert.ok(texts.length >= 6, JSON.stringify(seen));
  for (const text of texts.slice(1)) {
    const [, , , at] = seen.find((s) => s[2] === text);
    const start = +/\d+/.exec(text)[0];
    const whole = Math.round((start - 0.5) / 2.5) * 2.5 + 0.5;
    assert.equal(Math.floor(whole), start);
    assert.ok(Math.abs(at - began - whole) < 0.4, `${text} is shown at ${at - began} s of the stream`);
  }
  // A caption does not wait for the end of a segment: it is with the player by the next time it asks, which it does each
  // target duration (2 s) at the least. It is told half a second and up to 0.2 s after its moment.
  const late = texts.slice(2).map((text) => {
    const whole = Math.round((+/\d+/.exec(text)[0] - 0.5) / 2.5) * 2.5 + 0.5;
    return got[text] - began - whole - 0.5;
  }).sort((a, b) => a - b);
  assert.ok(late.at(-1) < 3, `cues come ${late.map((s) => s.toFixed(2))} s after they were told`);
  const durations = readFileSync(join(folder, "descriptions.m3u8"), "utf8").match(/(?<=#EXTINF:)[\d.]+/g).map(Number);
  assert.ok(durations.every((d) => d <= 2) && durations.some((d) => d < 1.9), `${durations}`);
  await page.close();
  server.close();
  camera.kill("SIGKILL");
  run.kill("SIGKILL");
  console.log(`ok: hls.js shows ${texts.length} cues at their times while both playlists roll on; it has them ${
    late[late.length >> 1].toFixed(1)} s after they are emitted (half of them), ${late.at(-1).toFixed(1)} s (all)`);
}

/** What a segment's ID3 tag says, in 90 kHz. */
function tagTime(segment) {
  const bytes = readFileSync(join(folder, segment));
  const owner = "com.apple.streaming.transportStreamTimestamp\0";
  const at = bytes.indexOf(owner, 0, "latin1");
  assert.ok(bytes.subarray(0, 3).toString() === "ID3" && at > 0, segment);
  return Number(bytes.readBigUInt64BE(at + owner.length));
}

/** A stream with sound, its video repackaged by FFmpeg, and descry's rendition in which descriptions are spoken. */
async function described(browser) {
  for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true });
  const seconds = 24;
  const scenes = ["testsrc2", "mandelbrot", "smptebars", "rgbtestsrc", "testsrc2", "mandelbrot"];
  execFileSync("ffmpeg", ["-v", "error", ...scenes.flatMap((s) => ["-f", "lavfi", "-t", "4", "-i", `${s}=size=320x180:rate=25`]),
    "-f", "lavfi", "-i", `sine=frequency=440:duration=${seconds}`, "-filter_complex",
    scenes.map((_, i) => `[${i}]format=yuv420p,setsar=1[v${i}];`).join("") + scenes.map((_, i) => `[v${i}]`).join("") + `concat=n=${scenes.length}[v]`,
    "-map", "[v]", "-map", `${scenes.length}:a`, "-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-sc_threshold", "0", "-bf", "0",
    "-c:a", "aac", "-ar", "48000", "-output_ts_offset", "3600", "film.ts"], { cwd: folder });
  const camera = spawn("ffmpeg", ["-v", "error", "-re", "-copyts", "-i", "film.ts", "-c", "copy", "-f", "hls", "-hls_time", "2",
    "-hls_list_size", "20", "-hls_flags", "program_date_time", "-hls_segment_options", "mpegts_copyts=1", "video.m3u8"],
  { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
  process.on("exit", () => camera.kill("SIGKILL"));
  const voice = `python3 ${join(root, "tests/speak/voice.py")}`;
  const run = spawn(descry, ["live", "--realtime", join(folder, "film.ts"), "--model", join(root, "tests/models/tiny"), "--min-score", "0",
    "--min-interval", "3", "--hls", folder, "--hls-video", "video.m3u8", "--hls-window", "20", "--voice-command", voice], { stdio: "inherit" });
  process.on("exit", () => run.kill("SIGKILL"));
  const exists = async (name) => { while (!existsSync(join(folder, name))) await new Promise((done) => setTimeout(done, 50)); };
  await exists("video.m3u8");
  await exists("descriptions-audio.m3u8");
  const server = await serve();
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/#described`);
  await page.waitForFunction(() => document.querySelector("video").currentTime > 12, null, { timeout: 45_000 }).catch(() => {});
  const { tracks, track, errors, audioErrors, time, fragments, level } = await page.evaluate(() => ({
    tracks: hls.audioTracks.map((t) => [t.name, t.url ?? "", t.characteristics ?? ""]), track: hls.audioTrack, errors: window.errors, audioErrors: window.audioErrors,
    time: document.querySelector("video").currentTime, fragments: window.fragments, level: window.level,
  }));
  assert.deepEqual(tracks.map(([name]) => name), ["Original", "Audio description"]);
  assert.ok(tracks[1][1].endsWith("/descriptions-audio.m3u8") && track === 1, JSON.stringify(tracks));
  // To leave the sound in the video, hls.js reads its first segment again, and remarks that nothing new comes of it.
  assert.deepEqual(audioErrors, [], JSON.stringify(errors));
  assert.ok(time > 12, `the video stopped at ${time} s`);
  const of = (type) => fragments.filter((f) => f.type === type);
  const [video, audio] = [of("main")[0], of("audio")];
  assert.ok(video && audio.length >= 4, JSON.stringify(fragments));
  const name = (url) => url.split("/").at(-1);
  for (const fragment of audio) {
    // Where the clock of the source puts it.
    const apart = (tagTime(name(fragment.url)) - +firstTime(name(video.url))) / 90_000;
    assert.ok(Math.abs(fragment.start - video.start - apart) < 0.06, `${JSON.stringify(fragment)} is ${apart} s after ${JSON.stringify(video)}`);
  }
  assert.ok(level > 0.01, `the loudest moment is ${level}`);
  await page.close();
  server.close();
  camera.kill("SIGKILL");
  const ended = new Promise((done) => run.once("exit", done));
  run.kill("SIGTERM");
  await ended;
  console.log(`ok: hls.js offers the described sound, and plays ${audio.length} segments of it at their times`);
}

/** No fault that axe-core finds. */
async function accessible(page) {
  const found = await page.evaluate(`${axe}; axe.run()`);
  assert.deepEqual(found.violations.map((v) => [v.id, v.nodes[0].html]), []);
}

async function livePage(browser) {
  const pictures = readdirSync(join(root, "samples")).filter((f) => f.endsWith(".jpg")).map((f) => join(root, "samples", f));
  const token = "0123456789abcdef";
  const run = spawn(example, ["play", "--streams", "3", "--seconds", "60", "--token", token, ...pictures], { stdio: ["ignore", "ignore", "pipe"] });
  process.on("exit", () => run.kill("SIGKILL"));
  const url = await new Promise((done) => createInterface(run.stderr).once("line", done));
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  const said = [];
  page.on("console", (m) => { if (["error", "warning"].includes(m.type())) said.push(m.text()); });
  page.on("pageerror", (e) => said.push(String(e)));
  // The answer to the token leads on at once, perhaps before its icon has come.
  const left = (r) => r.url().endsWith("/icon.svg") && r.failure()?.errorText === "net::ERR_ABORTED";
  page.on("requestfailed", (r) => { if (!left(r)) said.push(`${r.url()} ${r.failure()?.errorText}`); });
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (e) => window.violations.push(e.violatedDirective + " " + e.blockedURI));
    window.announced = [];
    document.addEventListener("DOMContentLoaded", () => {
      const region = document.querySelector("[aria-live=polite][role=log]");
      // The answer to the token is a page that leads here.
      if (region) new MutationObserver((all) => all.forEach((m) => m.addedNodes.forEach((n) => window.announced.push(n.textContent)))).observe(region, { childList: true });
    });
  });
  const refused = await page.request.get(url + "status");
  assert.equal(refused.status(), 401);
  await page.goto(`${url}?token=${token}`);
  // The answer to the token sets a cookie and leads here.
  await page.waitForURL(url);
  await page.waitForFunction(() => new Set(window.announced).size >= 6 && window.announced.some((t) => t.includes("<script>")), null, { timeout: 40_000 });
  await page.waitForFunction(() => [...document.images].filter((i) => i.naturalWidth > 0 && i.alt.length > 5).length > 0);
  const state = await page.evaluate(() => ({
    violations: window.violations, pwned: window.pwned ?? null, announced: window.announced,
    injected: document.querySelectorAll("article script, #announcer img, .now img, li img").length,
    states: [...document.querySelectorAll(".state .word")].map((e) => e.textContent),
    lag: document.querySelector(".lag").textContent,
    unlabelled: [...document.querySelectorAll("input")].filter((i) => i.labels.length === 0).length,
  }));
  assert.deepEqual(state.violations, []);
  assert.deepEqual(said, []);
  assert.equal(state.pwned, null);
  assert.equal(state.injected, 0);
  assert.equal(state.unlabelled, 0);
  assert.ok(state.announced.every((t) => /^(Front door|Car park <north>): /.test(t)), JSON.stringify(state.announced));
  assert.deepEqual(state.states, ["Live", "Live", "Not connected: nothing answers"]);
  assert.match(state.lag, /^0\.\d s$/);
  for (const [width, height, scheme] of [[1280, 900, "light"], [360, 800, "dark"]]) {
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: scheme });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `${wide} pixels wide on a screen of ${width}`);
    await accessible(page);
    if (shots) await page.screenshot({ path: join(shots, `page-${width}.png`), fullPage: true });
  }
  // With announcements off for one stream, only the other one is announced.
  await page.locator("article input").first().uncheck();
  await page.evaluate(() => { window.announced.length = 0; });
  await page.waitForFunction(() => window.announced.length >= 2, null, { timeout: 15_000 });
  assert.ok((await page.evaluate(() => window.announced)).every((t) => t.startsWith("Car park")));
  // The server goes; the page says so.
  said.length = 0;
  run.kill("SIGKILL");
  await page.waitForFunction(() => document.getElementById("connection").textContent.includes("lost"), null, { timeout: 15_000 });
  await page.close();
  console.log(`ok: the page announces captions, no policy violations`);
}

/** What `make demo` describes, as page and track. */
function describe() {
  execFileSync(descry, ["describe", join(root, "samples/bikes.mp4"), "-f", "html,vtt", "--place", "free", "-o", `${folder}/`, "-q"]);
  execFileSync("ffmpeg", ["-v", "error", "-i", join(root, "samples/bikes.mp4"), "-c", "copy", join(folder, "bikes.mp4")]);
}

async function transcript(browser) {
  for (const [colorScheme, width] of [["light", 900], ["dark", 360]]) {
    const page = await browser.newPage({ colorScheme, viewport: { width, height: 900 } });
    const said = [];
    page.on("console", (m) => said.push(m.text()));
    page.on("request", (r) => { if (!/^(file|data):/.test(r.url())) said.push(r.url()); });
    await page.goto(`file://${join(folder, "bikes.html")}`);
    await accessible(page);
    const state = await page.evaluate(() => ({
      wide: document.documentElement.scrollWidth, pictures: [...document.images].filter((i) => i.naturalWidth > 0).length,
      times: document.querySelectorAll("ol a time").length,
    }));
    assert.ok(state.wide <= width && state.times > 2 && state.pictures === state.times, JSON.stringify(state));
    if (shots) await page.screenshot({ path: join(shots, `transcript-${width}.png`), fullPage: true });
    const link = page.locator("ol a").last();
    const start = +/#t=([\d.]+)$/.exec(await link.getAttribute("href"))[1];
    await link.click();
    await page.waitForFunction(() => document.querySelector("video")?.currentTime > 0, null, { timeout: 15_000 });
    const at = await page.evaluate(() => document.querySelector("video").currentTime);
    assert.ok(start > 1 && at >= start - 0.1, `the film plays at ${at} instead of ${start}`);
    assert.deepEqual(said, []);
    await page.close();
  }
  console.log("ok: the transcript has no fault that axe-core finds, and its links play the film at their second");
}

/** A page of search results. */
async function searchPage(browser) {
  execFileSync(descry, ["index", join(root, "samples/bikes.mp4"), "--into", join(folder, "archive"), "-q"]);
  execFileSync(descry, ["search", join(folder, "archive"), "a bicycle", "--html", join(folder, "search.html")], { stdio: "ignore" });
  for (const [colorScheme, width] of [["light", 1100], ["dark", 360]]) {
    const page = await browser.newPage({ colorScheme, viewport: { width, height: 900 } });
    const said = [];
    page.on("console", (m) => said.push(m.text()));
    page.on("request", (r) => { if (!/^(file|data):/.test(r.url())) said.push(r.url()); });
    await page.goto(`file://${join(folder, "search.html")}`);
    await accessible(page);
    const state = await page.evaluate(() => ({
      wide: document.documentElement.scrollWidth, shapes: [...document.images].map((i) => +(i.width / i.height).toFixed(2)),
    }));
    assert.ok(state.wide <= width && state.shapes.length > 2 && state.shapes.every((s) => s === 1.78), JSON.stringify(state));
    assert.deepEqual(said, []);
    if (shots) await page.screenshot({ path: join(shots, `search-${width}.png`), fullPage: true });
    await page.close();
  }
  console.log("ok: the search page has no fault that axe-core finds");
}

/** The components of all pages, those too that no page has yet. */
async function components(browser) {
  const style = readFileSync(join(root, "src/look/look.css"), "utf8");
  const html = `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Look</title>
<style>${style}</style><header class="page-head"><h1>Look</h1><p>All components</p></header><main>
<div class="toolbar"><button>Plain</button><button class="main">Main</button><button aria-pressed="true">Pressed</button><button disabled>Off</button>
<a class="button" href="#a">Link</a></div>
<label>Text <input placeholder="Hint"></label> <label>Wrong <input aria-invalid="true" value="x"></label>
<label>Choice <select><option>One</option></select></label> <label>Long <textarea>Text</textarea></label>
<label class="check"><input type="checkbox" checked> Tick</label> <label class="check"><input type="radio"> One</label>
<p><span class="badge">Plain</span> <span class="badge good">Good</span> <span class="badge wait">Wait</span> <span class="badge bad">Bad</span></p>
<div class="card"><h2>Card</h2><p class="soft">Less important</p><p class="badge good">Good</p></div><p class="notice">Notice</p><p class="notice bad" role="alert">Error</p>
<ol class="scenes" role="list"><li><span class="thumb">no picture</span><p>Below one another</p></li></ol>
<ol class="scenes columns" role="list"><li><span class="thumb">no picture</span><p>In columns</p></li></ol>
<p class="unseen">Unseen</p><button id="last">Open</button></main><dialog aria-labelledby="h"><h2 id="h">Dialog</h2><button autofocus>Close</button></dialog></html>`;
  for (const [colorScheme, width, forcedColors] of [["light", 1100, "none"], ["dark", 360, "none"], ["dark", 360, "active"]]) {
    const page = await browser.newPage({ colorScheme, forcedColors, reducedMotion: "reduce", viewport: { width, height: 900 } });
    await page.setContent(html);
    await accessible(page);
    const name = `components-${width}${forcedColors === "active" ? "-forced" : ""}`;
    if (shots) await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
    // What is pressed is large enough for a finger, and what has the focus has a ring.
    const small = await page.evaluate(() => [...document.querySelectorAll("main button, main .button, main select, main .check, main input:not([type])")]
      .filter((e) => e.getBoundingClientRect().height < 44).map((e) => e.outerHTML));
    assert.deepEqual(small, []);
    const edge = (selector) => page.evaluate((s) => getComputedStyle(document.querySelector(s)).borderTopWidth, selector);
    assert.deepEqual([await edge("input"), await edge("[aria-invalid]")], ["1px", "2px"]);
    await page.keyboard.press("Tab");
    const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle + " " + getComputedStyle(document.activeElement).outlineWidth);
    assert.equal(ring, "solid 3px");
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth) <= width);
    await page.evaluate(() => document.querySelector("dialog").showModal());
    await accessible(page);
    await page.close();
  }
  console.log("ok: the components have no fault that axe-core finds, in both themes and with forced colours");
}

const VIDEOJS = `<!doctype html><html lang="en"><meta charset="utf-8"><script src="/videojs.js"></script>
<video id="v" class="video-js" controls muted><source src="/bikes.mp4" type="video/mp4">
<track kind="descriptions" src="/bikes.vtt" srclang="en" label="English"></video>
<script>window.player = videojs("v");</script>`;

async function descriptionsInVideojs(browser) {
  const server = await serve();
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/videojs`);
  await page.waitForFunction(() => window.player?.textTracks().length > 0);
  const mode = await page.evaluate(() => window.player.textTracks()[0].mode);
  assert.equal(mode, "disabled");
  await page.evaluate(() => {
    window.seen = [];
    const display = document.querySelector(".vjs-text-track-display");
    new MutationObserver(() => window.seen.push(display.textContent)).observe(display, { childList: true, subtree: true });
    window.player.textTracks()[0].mode = "showing";
    window.player.play();
  });
  const cues = readFileSync(join(folder, "bikes.vtt"), "utf8").split("\n\n").slice(2).map((cue) => cue.trim().split("\n").slice(1).join("\n"));
  assert.ok(cues.length > 2, JSON.stringify(cues));
  await page.waitForFunction(() => window.player.ended(), null, { timeout: 30_000 });
  const { seen, live } = await page.evaluate(() => ({
    seen: window.seen, live: document.querySelector(".vjs-text-track-display").getAttribute("aria-live"),
  }));
  assert.equal(live, "assertive");
  assert.deepEqual(cues.filter((cue) => !seen.includes(cue)), []);
  await page.close();
  server.close();
  console.log(`ok: video.js shows ${cues.length} descriptions where screen readers read them, once they are on`);
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--autoplay-policy=no-user-gesture-required"],
});
try {
  await hls(browser);
  await rolling(browser);
  await described(browser);
  await livePage(browser);
  describe();
  await transcript(browser);
  await searchPage(browser);
  await components(browser);
  await descriptionsInVideojs(browser);
} finally {
  await browser.close();
  rmSync(folder, { recursive: true, force: true });
}
