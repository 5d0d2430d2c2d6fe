// Reads every file named on the command line, and every .vtt in every folder, with W3C's own parser; prints each
// violation on standard error, and on standard output the number of cues of each file or, after --cues, the cues.
import { readFileSync, readdirSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import parser from "webvtt-parser";
const { WebVTTParser } = parser;
// The table that the parser has by itself lacks the semicolons: "&lt;" would be read as "<;".
const entities = createRequire(import.meta.url)("webvtt-parser/html-entities.json");
const args = process.argv.slice(2);
const whole = args[0] === "--cues";
const paths = args.slice(whole ? 1 : 0).flatMap((path) =>
  statSync(path).isDirectory()
    ? readdirSync(path).filter((name) => name.endsWith(".vtt")).sort().map((name) => join(path, name))
    : [path],
);
let errors = 0;
const text = (node) => (node.type === "text" ? node.value : (node.children ?? []).map(text).join(""));
const files = [];
for (const path of paths) {
  const tree = new WebVTTParser(entities).parse(readFileSync(path, "utf8"), "captions");
  for (const e of tree.errors) {
    errors++;
    console.error(`${path}:${e.line}:${e.col} ${e.message}`);
  }
  files.push(whole ? tree.cues.map((c) => [c.startTime, c.endTime, text(c.tree)]) : tree.cues.length);
}
console.log(JSON.stringify(files));
process.exitCode = errors ? 1 : 0;
