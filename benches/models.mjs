// Captions pictures with transformers.js, one at a time, for benches/models.py. Prints a JSON line per picture and, on
// standard error, the seconds of all of them without the loading of the model.
//
//   node models.mjs DIR PRECISION TOKENS PROMPT PICTURE...
//
// It needs `npm install --ignore-scripts @huggingface/transformers@4.3.1` in the folder from which it is started.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(path.join(process.cwd(), "package.json"));
const entry = require.resolve("@huggingface/transformers").replace(/\.cjs$/, ".mjs");
const { AutoModelForVision2Seq, AutoProcessor, env, load_image } = await import(pathToFileURL(entry));

const [dir, dtype, tokens, prompt, ...files] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = "/";
const model = await AutoModelForVision2Seq.from_pretrained(dir, { dtype, device: "cpu" });
const processor = await AutoProcessor.from_pretrained(dir);
const messages = [{ role: "user", content: [{ type: "image" }, { type: "text", text: prompt }] }];
const chat_template = readFileSync(path.join(dir, "chat_template.jinja"), "utf8");
const text = processor.apply_chat_template(messages, { add_generation_prompt: true, chat_template });
const start = performance.now();
for (const file of files) {
  const inputs = await processor(text, [await load_image(file)], { do_image_splitting: false });
  const output = await model.generate({ ...inputs, max_new_tokens: Number(tokens), do_sample: false });
  const ids = output.tolist()[0].slice(inputs.input_ids.dims.at(-1)).map(Number);
  console.log(JSON.stringify({ image: path.basename(file), ids }));
}
console.error(JSON.stringify({ seconds: (performance.now() - start) / 1e3 }));
