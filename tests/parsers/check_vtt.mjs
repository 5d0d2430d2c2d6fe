// Reads every file named on the command line with W3C's own parser; prints each violation and counts them.
import { readFileSync } from "node:fs";
import parser from "webvtt-parser";
const { WebVTTParser } = parser;
let errors = 0;
const cues = [];
for (const path of process.argv.slice(2)) {
  const tree = new WebVTTParser().parse(readFileSync(path, "utf8"), "captions");
  for (const e of tree.errors) {
    errors++;
    console.error(`${path}:${e.line}:${e.col} ${e.message}`);
  }
  cues.push(tree.cues.length);
}
console.log(JSON.stringify(cues));
process.exit(errors ? 1 : 0);
