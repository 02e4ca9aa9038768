// tuf-js's client as a command: `node client.mjs URL FOLDER TARGET...`.
//
// FOLDER has the pinned root.json and keeps what the client learns. A line of JSON says what each target's sha256 is, or
// null: signed proof of absence. Whatever is refused ends the client with status 1 and the reason on stderr.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Updater } from 'tuf-js';

const [url, folder, ...names] = process.argv.slice(2);
const targetDir = join(folder, 'targets');
mkdirSync(targetDir, { recursive: true });
const client = new Updater({
  metadataDir: folder,
  metadataBaseUrl: `${url}metadata`,
  targetDir,
  targetBaseUrl: `${url}targets`,
});
try {
  await client.refresh();
  const found = {};
  for (const name of names) {
    const target = await client.getTargetInfo(name);
    found[name] = target === undefined ? null : digest(await client.downloadTarget(target));
  }
  console.log(JSON.stringify(found));
} catch (refused) {
  console.error(`${refused.constructor.name}: ${refused.message}`);
  process.exitCode = 1;
}

function digest(path) {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}
