// The pictures and the recording of docs/review.md: a review of a film from samples/, described by the built-in model.
// Arguments: descry, and the folder that they are written to.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

import { ended, folder, freePort, open, root, shots, start, until } from "./review_support.mjs";

/** Largest picture and recording, in bytes. */
const MOST = { picture: 150e3, recording: 2e6 };
const FILM = "tears-of-steel.webm";

function ffmpeg(...args) {
  execFileSync("ffmpeg", ["-v", "error", "-y", ...args]);
}

/** Takes a picture of the page as WebP. */
async function picture(page, name) {
  const [png, webp] = [join(folder, name + ".png"), join(shots, name + ".webp")];
  // Pictures of the list may still be on their way.
  await page.waitForFunction(() => [...document.querySelectorAll("#cues img")].every((image) => image.complete));
  await page.screenshot({ path: png });
  ffmpeg("-i", png, "-c:v", "libwebp", "-quality", "82", "-compression_level", "6", webp);
  const bytes = statSync(webp).size;
  assert.ok(bytes <= MOST.picture, `${webp} has ${bytes} bytes`);
  console.log(`${webp}: ${bytes} bytes`);
}

/** Records what `act` does as WebM. */
async function recording(page, name, act) {
  const frames = [];
  const session = await page.context().newCDPSession(page);
  session.on("Page.screencastFrame", ({ data, metadata, sessionId }) => {
    const file = `frame-${frames.length}.jpg`;
    writeFileSync(join(folder, file), Buffer.from(data, "base64"));
    frames.push({ file, time: metadata.timestamp });
    session.send("Page.screencastFrameAck", { sessionId }).catch(() => {});
  });
  await session.send("Page.startScreencast", { format: "jpeg", quality: 90, everyNthFrame: 1 });
  await act();
  await session.send("Page.stopScreencast");
  // Each frame is shown until the next one.
  const lines = frames.map(({ file, time }, n) => `file '${file}'\nduration ${(frames[n + 1]?.time ?? time + 1) - time}`);
  writeFileSync(join(folder, "frames.txt"), lines.join("\n") + "\n");
  const webm = join(shots, name + ".webm");
  ffmpeg("-f", "concat", "-i", join(folder, "frames.txt"), "-vf", "fps=12,scale=960:-2", "-c:v", "libvpx-vp9", "-crf", "38", "-b:v", "0",
    "-deadline", "good", "-cpu-used", "5", webm);
  const bytes = statSync(webm).size;
  assert.ok(bytes <= MOST.recording, `${webm} has ${bytes} bytes`);
  console.log(`${webm}: ${bytes} bytes`);
}

const wait = (page, seconds) => page.waitForTimeout(seconds * 1000);

/** An editor at work: moves a cue into a pause, describes a frame again, and goes through the storyboard. */
async function work(page) {
  const press = async (...keys) => {
    for (const key of keys) {
      await page.keyboard.press(key);
      await wait(page, 0.9);
    }
  };
  await wait(page, 1);
  await press("j", "j", "i", "Enter");
  await page.keyboard.press("End");
  await page.keyboard.type(" It is evening.", { delay: 60 });
  await wait(page, 0.8);
  await press("Escape", "c", "d");
  await page.waitForSelector("#candidates button");
  await wait(page, 1.5);
  await press("Escape", "b", "j", "j", "b", "Space");
  await wait(page, 2.5);
  await press("Space");
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--autoplay-policy=no-user-gesture-required"],
});
let running;
try {
  mkdirSync(shots, { recursive: true });
  copyFileSync(join(root, "samples", FILM), join(folder, FILM));
  running = await start(await freePort(), FILM, "--model", join(root, "models/builtin"), "--mode", "all", "--audio", "1");
  for (const [name, options] of [
    ["review", { colorScheme: "light" }],
    ["review-dark", { colorScheme: "dark" }],
    ["review-phone", { colorScheme: "light", viewport: { width: 360, height: 740 } }],
  ]) {
    const page = await open(browser, running.address, options);
    await page.keyboard.press("j");
    await page.keyboard.press("j");
    await until("the film is there", () => page.evaluate(() => document.getElementById("video").readyState >= 2));
    await page.evaluate(() => scrollTo(0, 0));
    await wait(page, 1);
    await picture(page, name);
    if (name === "review") {
      await page.keyboard.press("b");
      await wait(page, 1);
      await picture(page, "review-storyboard");
    }
    await page.close();
  }
  const page = await open(browser, running.address, { viewport: { width: 1280, height: 800 } });
  await recording(page, "review", () => work(page));
} finally {
  await browser.close();
  if (running) await ended(running.child, "SIGINT");
  rmSync(folder, { recursive: true, force: true });
}
