// What helps an editor: pauses and edges on the timeline, other descriptions of a frame, a prompt, and a voice.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { ended, film, folder, freePort, open, root, saved, start, track, until } from "./review_support.mjs";

const cue = (name, n) => saved(name).cues[n];

/** The lane of pauses, cues that are moved into them, and edges that are dragged and moved with keys. */
export async function pauses(browser) {
  film("talk.avi", 20);
  writeFileSync(join(folder, "talk.vtt"), "WEBVTT\n\n" + [["00.000", "01.000"], ["04.000", "07.900"], ["16.000", "19.000"]]
    .map(([start, end], n) => `00:${start} --> 00:${end}\nShot ${n + 1}.\n`).join("\n"));
  // Somebody talks from 3 to 9 s and from 12 to 13 s: the pauses are 0 to 2.8, 9.2 to 11.8 and 13.2 to 20 s.
  writeFileSync(join(folder, "talk.srt"), "1\n00:00:03,000 --> 00:00:09,000\nHello.\n\n2\n00:00:12,000 --> 00:00:13,000\nYes.\n");
  const running = await start(await freePort(), "talk.avi", "talk.vtt", "--dialogue", "talk.srt");
  const page = await open(browser, running.address);
  const press = async (...keys) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  const times = (n) => [cue("talk.review.json", n).start, cue("talk.review.json", n).end];
  assert.match(await page.textContent(".legend"), /pauses/);
  // What is drawn where there is a pause is not drawn where somebody talks.
  const lane = await page.evaluate(async () => {
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const canvas = document.getElementById("timeline");
    const at = (seconds) => {
      const { data } = canvas.getContext("2d").getImageData((seconds / 20) * canvas.width, (84 / 146) * canvas.height, 1, 1);
      return data[3] > 0;
    };
    return [1, 5, 10, 12.5, 15].map(at);
  });
  assert.deepEqual(lane, [true, false, true, false, true]);
  // The second cue is spoken in 0.7 s: it goes to the nearer pause, behind the cue that is there already.
  await press("j", "i");
  await until("the cue is in a pause", () => times(1)[0] < 3);
  const [start1, end1] = times(1);
  assert.ok(start1 >= 1 && end1 === 2.8 && end1 - start1 >= 0.66, `${start1} ${end1}`);
  await press("u");
  await until("it is back", () => times(1)[0] === 4);
  await page.click("#to-pause");
  await until("the button does the same", () => times(1)[0] === start1);
  await press("u");
  await until("it is back again", () => times(1)[0] === 4);

  // Edges with the keyboard alone: Tab finds them, arrows move them, however fast they come.
  await page.focus("#start-edge");
  await press("ArrowRight", "ArrowRight", "ArrowRight", "Shift+ArrowLeft", "Alt+ArrowRight");
  await until("the start is moved five times", () => times(1)[0] === 3.5);
  assert.equal(await page.getAttribute("#start-edge", "aria-valuetext"), "0:00:03.500");
  await press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "end-edge");
  await press("ArrowLeft");
  await until("the end is moved", () => times(1)[1] === 7.8);
  // An edge does not pass the other one.
  for (let n = 0; n < 6; n++) await press("Shift+ArrowLeft");
  await until("the end stays behind the start", () => times(1)[1] === 3.6);
  assert.equal(await page.evaluate(() => document.activeElement.id), "end-edge");

  // The same with a mouse: an edge, and then the whole cue.
  const box = await page.locator("#timeline").boundingBox();
  const x = (seconds) => box.x + (seconds / 20) * box.width;
  const y = box.y + box.height - 16;
  const drag = async (from, to) => {
    await page.mouse.move(x(from), y);
    await page.mouse.down();
    await page.mouse.move(x((from + to) / 2), y, { steps: 3 });
    await page.mouse.move(x(to), y, { steps: 3 });
    await page.mouse.up();
  };
  await drag(3.6, 7);
  await until("the end is dragged", () => Math.abs(times(1)[1] - 7) < 0.1);
  await drag(5, 6);
  await until("the cue is dragged", () => Math.abs(times(1)[0] - 4.5) < 0.1 && Math.abs(times(1)[1] - 8) < 0.15);
  assert.deepEqual(page.faults, []);
  await page.close();
  await ended(running.child, "SIGINT");
  console.log("ok: cues are moved into pauses, and their edges with the keyboard and the mouse");
}

/** A model without a prompt and one with, and a voice. */
export async function machines(browser) {
  film("frames.avi", 8);
  track("frames.vtt", 2, 4);
  const port = await freePort();
  const voice = "sh -c 'cat >>spoken.txt; ffmpeg -v error -f lavfi -i sine=440:d=0.5 -f wav -'";
  const running = await start(port, "frames.avi", "frames.vtt", "--voice-command", voice, "--voice-env", "PATH");
  const page = await open(browser, running.address);
  await page.keyboard.press("d");
  await page.waitForSelector("#candidates button");
  assert.ok(await page.isDisabled("#prompt"));
  assert.match(await page.textContent("#prompt-why"), /takes no prompt/);
  const offered = await page.locator("#candidates button").allTextContents();
  assert.ok(offered.length > 1, "one candidate alone: " + offered);
  assert.equal(new Set(offered).size, offered.length);
  assert.match(await page.textContent("#candidates"), /score \d\.\d\d/);
  await page.keyboard.press("Enter");
  await until("a candidate is taken", () => cue("frames.review.json", 0).text === offered[0]);
  assert.ok(await page.isHidden("#again-box"));

  // The voice speaks what is in the field, once.
  const given = () => readFileSync(join(folder, "spoken.txt"), "utf8");
  await page.evaluate(() => {
    window.played = [];
    const { play } = HTMLMediaElement.prototype;
    HTMLMediaElement.prototype.play = function () {
      if (this instanceof HTMLAudioElement) window.played.push(this.src);
      return play.call(this);
    };
  });
  await page.keyboard.press("v");
  await page.waitForFunction(() => window.played.length === 1 && window.played[0].startsWith("blob:"));
  await page.keyboard.press("v");
  await page.waitForFunction(() => window.played.length === 2);
  assert.equal(given().trim(), offered[0]);
  assert.deepEqual(page.faults, []);
  await page.close();
  await ended(running.child, "SIGINT");

  // A model that follows a prompt.
  const hub = await start(port, "frames.avi", "--model", join(root, "tests/models/hub"));
  const asked = await open(browser, hub.address);
  await asked.keyboard.press("d");
  await asked.waitForSelector("#candidates button");
  assert.ok(await asked.isEnabled("#prompt"));
  const bodies = [];
  asked.on("request", (request) => request.url().endsWith("/api/describe") && bodies.push(request.postDataJSON()));
  await asked.fill("#prompt", "Name the colours.");
  await asked.click("#ask");
  await until("it answers", () => asked.isVisible("#candidates button"));
  assert.equal(bodies[0].prompt, "Name the colours.");
  // Stop ends what is under way.
  await asked.route("**/api/describe", () => {});
  await asked.click("#ask");
  await asked.click("#stop-asking");
  assert.equal(await asked.textContent("#candidates"), "Stopped.");
  assert.deepEqual(asked.faults, []);
  await asked.close();
  await ended(hub.child, "SIGINT");
  console.log("ok: frames are described again, with a prompt where the model takes one, and cues are spoken");
}
