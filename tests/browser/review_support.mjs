// What the tests of reviews have in common: films and tracks, a descry that serves a page, and a browser that shows it.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve as absolute } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** descry, and a folder for pictures of the page, if they are wanted. */
export const [descry, shots] = process.argv.slice(2);
export const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
export const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
export const folder = mkdtempSync(join(tmpdir(), "descry-review-"));

/** A film of `seconds` with a tone, which browsers do not play as it is. */
export function film(name, seconds) {
  execFileSync("ffmpeg", ["-v", "error", "-f", "lavfi", "-i", `testsrc=s=160x90:r=5:d=${seconds}`, "-f", "lavfi", "-i",
    `sine=440:d=${seconds}`, "-c:v", "mpeg4", "-c:a", "pcm_s16le", "-shortest", name], { cwd: folder });
}

export function stamp(seconds) {
  return new Date(seconds * 1000).toISOString().slice(11, 23);
}

/** A track with a cue every `step` seconds. */
export function track(name, count, step) {
  const cues = Array.from({ length: count }, (_, n) => `${stamp(n * step)} --> ${stamp((n + 1) * step - 0.1)}\nShot ${n + 1}.\n`);
  writeFileSync(join(folder, name), "WEBVTT\n\n" + cues.join("\n"));
}

export function freePort() {
  return new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

/** Options of a review, where a test gives no others. */
const USUAL = { "--audio": "none", "--mode": "keyframes", "--model": join(root, "tests/models/tiny") };

/** Starts a review, and waits until its page is there. */
export async function start(port, ...args) {
  const usual = Object.entries(USUAL).filter(([name]) => !args.includes(name) && !(name === "--audio" && args.includes("--dialogue")));
  const options = ["--no-open", "--listen", `127.0.0.1:${port}`, ...usual.flat()];
  const child = spawn(absolute(descry), ["review", ...args, ...options], { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
  // A test that fails leaves nothing running.
  process.once("exit", () => child.kill("SIGKILL"));
  for await (const line of createInterface({ input: child.stdout })) return { child, address: line };
  throw new Error("descry has ended");
}

export function ended(child, signal) {
  return new Promise((done) => {
    child.once("exit", done);
    child.kill(signal);
  });
}

export function saved(name) {
  return JSON.parse(readFileSync(join(folder, name), "utf8"));
}

/** Waits until something is so. */
export async function until(what, is) {
  for (let n = 0; n < 200; n++) {
    if (await is()) return;
    await new Promise((go) => setTimeout(go, 50));
  }
  assert.fail("never: " + what);
}

export async function open(browser, address, options = {}) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 860 }, ...options });
  page.faults = [];
  page.on("pageerror", (e) => page.faults.push(e.message));
  page.on("console", (m) => {
    if (m.type() === "error" && !/ERR_CONNECTION|ERR_INCOMPLETE|Failed to load resource/.test(m.text())) page.faults.push(m.text());
  });
  await page.goto(address);
  await page.waitForSelector("#cues .pick");
  return page;
}

export const texts = (page) => page.locator("#cues .says").allTextContents();

