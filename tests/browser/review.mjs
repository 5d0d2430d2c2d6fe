// Reviews a film in headless Chromium as a person would: with the keyboard alone, in two windows, and while descry is
// killed. Arguments: descry, and a folder for pictures of the page, if they are wanted.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve as absolute } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const [descry, shots] = process.argv.slice(2);
const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const folder = mkdtempSync(join(tmpdir(), "descry-review-"));

/** A film of `seconds` with a tone, which browsers do not play as it is. */
function film(name, seconds) {
  execFileSync("ffmpeg", ["-v", "error", "-f", "lavfi", "-i", `testsrc=s=160x90:r=5:d=${seconds}`, "-f", "lavfi", "-i",
    `sine=440:d=${seconds}`, "-c:v", "mpeg4", "-c:a", "pcm_s16le", "-shortest", name], { cwd: folder });
}

function stamp(seconds) {
  return new Date(seconds * 1000).toISOString().slice(11, 23);
}

/** A track with a cue every `step` seconds. */
function track(name, count, step) {
  const cues = Array.from({ length: count }, (_, n) => `${stamp(n * step)} --> ${stamp((n + 1) * step - 0.1)}\nShot ${n + 1}.\n`);
  writeFileSync(join(folder, name), "WEBVTT\n\n" + cues.join("\n"));
}

function freePort() {
  return new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

/** Starts a review, and waits until its page is there. */
async function start(port, ...args) {
  const options = ["--no-open", "--listen", `127.0.0.1:${port}`, "--audio", "none", "--mode", "keyframes", "--model", join(root, "tests/models/tiny")];
  const child = spawn(absolute(descry), ["review", ...args, ...options], { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface({ input: child.stdout })) return { child, address: line };
  throw new Error("descry has ended");
}

function ended(child, signal) {
  return new Promise((done) => {
    child.once("exit", done);
    child.kill(signal);
  });
}

function saved(name) {
  return JSON.parse(readFileSync(join(folder, name), "utf8"));
}

/** Waits until something is so. */
async function until(what, is) {
  for (let n = 0; n < 200; n++) {
    if (await is()) return;
    await new Promise((go) => setTimeout(go, 50));
  }
  assert.fail("never: " + what);
}

async function open(browser, address, options = {}) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 860 }, ...options });
  page.faults = [];
  page.on("pageerror", (e) => page.faults.push(e.message));
  page.on("console", (m) => {
    if (m.type() === "error" && !/ERR_CONNECTION|ERR_INCOMPLETE|Failed to load resource/.test(m.text())) page.faults.push(m.text());
  });
  await page.goto(address);
  await page.waitForSelector("#cues li");
  return page;
}

const texts = (page) => page.locator("#cues .says").allTextContents();

async function keyboard(browser, address) {
  const page = await open(browser, address);
  const press = async (...keys) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  await press("j", "Enter", "Control+A");
  await page.keyboard.type("A dog & a <cat>.");
  await press("Escape");
  await until("the text is saved", () => saved("film.review.json").cues[1].text === "A dog & a <cat>.");
  assert.equal((await texts(page))[1], "A dog & a <cat>.");
  // Typing is one change.
  assert.equal(saved("film.review.json").history.length, 1);
  await press("c");
  await until("the cue is checked", () => saved("film.review.json").cues[1].checked);
  const titled = (title) => until(title, async () => (await page.textContent("#editor-title")) === title);
  await titled("Cue 3 of 5");
  await press("s");
  await until("the cue is split", () => saved("film.review.json").cues.length === 6);
  await titled("Cue 3 of 6");
  await press("m");
  await until("they are one again", () => saved("film.review.json").cues.length === 5);
  await titled("Cue 3 of 5");
  await press("x");
  await until("the cue is deleted", () => saved("film.review.json").deleted.length > 0 && saved("film.review.json").cues.length === 4);
  await press("u", "u", "u");
  await until("it is back", () => saved("film.review.json").cues.length === 5 && saved("film.review.json").cues[2].text === "Shot 3.");
  await press("r");
  await until("it is split again", () => saved("film.review.json").cues.length === 6);
  await press("u");
  await until("and is not", () => saved("film.review.json").cues.length === 5);
  await press("Home", ".");
  await until("the cue is later", () => saved("film.review.json").cues[0].start === 0.1);
  await press("f");
  await page.keyboard.type("shot");
  await press("Tab");
  await page.keyboard.type("Scene");
  await page.focus("#replace-all");
  await press("Enter");
  await until("words are replaced", () => saved("film.review.json").cues[3].text === "Scene 4.");
  await press("Escape", "?");
  assert.ok(await page.isVisible("#help"));
  await press("Escape");
  // The film is converted while it plays.
  await press("Home", "Space");
  await until("the film plays", () => page.evaluate(() => document.getElementById("video").currentTime > 0.5));
  await press("End");
  await until("another place plays", () => page.evaluate(() => document.getElementById("video").currentTime > 16.2));
  await press("Space");
  const colour = await page.evaluate(() => {
    const canvas = document.createElement("canvas");
    canvas.getContext("2d").drawImage(document.getElementById("video"), 0, 0);
    return canvas.width > 0;
  });
  assert.ok(colour);
  await until("pictures are there", () =>
    page.evaluate(() => [...document.querySelectorAll("#cues img")].slice(0, 3).every((image) => image.naturalWidth > 0)));
  assert.deepEqual(page.faults, []);
  await page.close();
  console.log("ok: a film is reviewed with the keyboard alone, and everything is saved, undone and done again");
}

async function twoWindows(browser, address) {
  const [one, two] = [await open(browser, address), await open(browser, address)];
  await one.keyboard.press("Enter");
  await one.keyboard.press("Control+A");
  await one.keyboard.type("Of one.");
  await until("the other one sees it", async () => (await texts(two))[0] === "Of one.");
  // Both change the same cue, one without having heard of the other.
  await two.evaluate(() => (window.EventSource = undefined));
  await two.route("**/api/edit", async (route) => {
    await new Promise((go) => setTimeout(go, 800));
    await route.continue();
  });
  await two.keyboard.press("Enter");
  await two.keyboard.press("Control+A");
  await two.keyboard.type("Of two.");
  await one.keyboard.press("Control+A");
  await one.keyboard.type("Of one again.");
  await until("the second one is asked", () => two.isVisible("#conflict"));
  assert.match(await two.textContent("#conflict-sides"), /Now: Of one again\.Yours: Of two\./);
  assert.equal(saved("film.review.json").cues[0].text, "Of one again.");
  await two.click("#conflict-choices button:last-child");
  await until("it takes its own", () => saved("film.review.json").cues[0].text === "Of two.");
  await until("and the first one sees that", async () => (await texts(one))[0] === "Of two.");
  assert.deepEqual([one.faults, two.faults], [[], []]);
  await one.close();
  await two.close();
  console.log("ok: two windows see each other's changes, and none overwrites the other's");
}

async function killed(browser, port, running) {
  const page = await open(browser, running.address);
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("Typed before the kill.");
  await until("it is saved", () => saved("film.review.json").cues[1].text === "Typed before the kill.");
  await ended(running.child, "SIGKILL");
  await page.keyboard.type(" And after it.");
  await until("the page says so", async () => /not saved|does not answer/i.test(await page.textContent("#saved")));
  const again = await start(port, "film.avi");
  await until("nothing that was typed is lost", () => saved("film.review.json").cues[1].text === "Typed before the kill. And after it.");
  await until("the page is content", async () => (await page.textContent("#saved")) === "Saved");
  assert.deepEqual(page.faults, []);
  await page.close();
  await ended(again.child, "SIGINT");
  console.log("ok: descry is killed while somebody types, and nothing is lost");
}

async function looks(browser, address) {
  for (const colorScheme of ["light", "dark"]) {
    for (const [width, height] of [[1280, 860], [360, 740], [640, 430]]) {
      // What axe-core needs to run; everything else on the page stays under its policy.
      const page = await open(browser, address, { colorScheme, viewport: { width, height }, bypassCSP: true });
      for (const dialog of [null, "find", "glossary", "history", "export", "help"]) {
        if (dialog) await page.click(`#open-${dialog}`);
        const found = await page.evaluate(`${axe}; axe.run()`);
        assert.deepEqual(found.violations.map((v) => v.id + " " + v.nodes.map((n) => n.target).join(" ")), [], `${colorScheme} ${width} ${dialog}`);
        if (dialog) await page.keyboard.press("Escape");
      }
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= width, `${wide} of ${width}`);
      if (shots) await page.screenshot({ path: join(shots, `review-${colorScheme}-${width}.png`) });
      await page.close();
    }
  }
  console.log("ok: the page and its dialogs have no fault that axe-core finds, in both themes, on a phone and enlarged");
}

async function long(browser, port) {
  film("long.avi", 60);
  const cues = Array.from({ length: 3000 }, (_, n) => `${stamp(n * 0.018)} --> ${stamp(n * 0.018 + 0.5)}\nShot ${n + 1}.\n`);
  writeFileSync(join(folder, "long.vtt"), "WEBVTT\n\n" + cues.join("\n"));
  const running = await start(port, "long.avi", "long.vtt");
  const begun = Date.now();
  const page = await open(browser, running.address);
  const opened = Date.now() - begun;
  await page.keyboard.press("End");
  await until("the last cue is in sight", () =>
    page.evaluate(() => {
      const { top, bottom } = document.querySelector("#cues li:last-child").getBoundingClientRect();
      return top >= 0 && bottom <= innerHeight;
    }));
  // Frames while the list is scrolled from its end to its start.
  const slowest = await page.evaluate(async () => {
    const list = document.getElementById("cues");
    let [last, slowest] = [performance.now(), 0];
    for (let n = 100; n >= 0; n--) {
      list.scrollTop = (list.scrollHeight * n) / 100;
      await new Promise(requestAnimationFrame);
      const now = performance.now();
      slowest = Math.max(slowest, now - last);
      last = now;
    }
    return slowest;
  });
  assert.deepEqual(page.faults, []);
  await page.close();
  await ended(running.child, "SIGINT");
  console.log(`ok: 3,000 cues open (${(opened / 1000).toFixed(1)} s) and scroll (the slowest frame takes ${slowest.toFixed(0)} ms)`);
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--autoplay-policy=no-user-gesture-required"],
});
let running;
try {
  film("film.avi", 20);
  track("film.vtt", 5, 4);
  const port = await freePort();
  running = await start(port, "film.avi", "film.vtt");
  await keyboard(browser, running.address);
  await twoWindows(browser, running.address);
  await looks(browser, running.address);
  await killed(browser, port, running);
  await long(browser, await freePort());
} finally {
  await browser.close();
  running?.child.kill();
  rmSync(folder, { recursive: true, force: true });
}
