// Puts every object of a list and gets it back, with Node's fetch.

import assert from "node:assert";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const [base, list] = process.argv.slice(2);
const objects = JSON.parse(readFileSync(list, "utf8"));
for (const { key, body } of objects) {
  const url = `${base}/${key.split("/").map(encodeURIComponent).join("/")}`;
  const bytes = Buffer.from(body, "hex");
  const put = await fetch(url, { method: "PUT", body: bytes });
  assert([200, 201].includes(put.status), `${key}: ${put.status}`);
  assert.equal(await put.text(), key);
  const got = await fetch(url);
  assert.equal(got.status, 200, key);
  assert(Buffer.from(await got.arrayBuffer()).equals(bytes), key);
  assert.equal(got.headers.get("etag"), `"${createHash("md5").update(bytes).digest("hex")}"`, key);
  const deleted = await fetch(url, { method: "DELETE" });
  assert.equal(deleted.status, 204, key);
}
console.log(`${objects.length} objects`);
