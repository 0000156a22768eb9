// Bundles the page into dist, which is committed and built into the server: whoever builds the server needs no Node.
// Equal sources give equal bytes.
import { createHash } from "node:crypto";
import { readFile, rm, writeFile, mkdir, copyFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

process.chdir(fileURLToPath(new URL(".", import.meta.url)));

const notice = `/*!
 * The page of heldar-footage, Apache-2.0. It contains:
 * @bufbuild/protobuf, Apache-2.0 AND BSD-3-Clause, Copyright Buf Technologies, Inc. and Google Inc.
 * @connectrpc/connect and @connectrpc/connect-web, Apache-2.0, Copyright The Connect Authors
 * preact and @preact/signals, MIT, Copyright Jason Miller and Preact Team
 */`;

await rm("dist", { recursive: true, force: true });
await mkdir("dist");
await build({
  entryPoints: ["src/page.tsx", "src/page.css"],
  outdir: "dist",
  bundle: true,
  minify: true,
  format: "esm",
  target: ["chrome111", "firefox113", "safari16.4"],
  banner: { js: notice },
  legalComments: "none",
  logLevel: "warning",
});
await copyFile("src/icon.svg", "dist/icon.svg");

// The name of an asset has a digest of its bytes, so that browsers keep it and never show an old one.
let html = await readFile("src/index.html", "utf8");
for (const name of ["page.js", "page.css", "icon.svg"]) {
  const digest = createHash("sha256").update(await readFile(`dist/${name}`)).digest("hex");
  html = html.replace(`"/page/${name}"`, `"/page/${name}?${digest.slice(0, 16)}"`);
}
await writeFile("dist/index.html", html);
