// The client for TypeScript, bundled for the tests: for Node, and as a script for a page.
import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const sources = fileURLToPath(new URL("../../typescript/src", import.meta.url));

async function bundled(entry, options) {
  const { outputFiles } = await build({ entryPoints: [join(sources, entry)], bundle: true, write: false, target: "es2022", ...options });
  return outputFiles?.[0];
}

/** The client for Node, and the contract. */
export async function nodeClient() {
  const folder = mkdtempSync(join(tmpdir(), "footage-page-client-"));
  try {
    const load = async (entry) => {
      const outfile = join(folder, entry.replace(/ts$/, "mjs"));
      await bundled(entry, { platform: "node", format: "esm", write: true, outfile });
      return import(outfile);
    };
    return { ...(await load("proto.ts")), ...(await load("node.ts")) };
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** A script that gives a page the client for browsers as `client`. */
export async function webClientScript() {
  return (await bundled("web.ts", { format: "iife", globalName: "client", footer: { js: "globalThis.client = client;" } })).text;
}
