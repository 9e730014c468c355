// in_browser.js CHROMIUM PROFILE PORT URL VERSION QOS NAME: the same as in_node.js, in a page of
// that port. Prints the messages that came back, or what went wrong, as JSON.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

import { chromium } from "playwright-core";

const [executablePath, profile, port, url, version, qos, name] = process.argv.slice(2);

const PAGE = `<!doctype html>
<link rel="icon" href="data:,">
<script type="importmap">{ "imports": { "mqtt": "/mqtt.js" } }</script>`;

const FILES = {
  "/mqtt.js": new URL("../node_modules/mqtt/dist/mqtt.esm.js", import.meta.url),
  "/echo.js": new URL("echo.js", import.meta.url),
  "/connect.js": new URL("connect.js", import.meta.url),
};

const server = createServer(async (request, response) => {
  const file = FILES[request.url];
  response.setHeader("Content-Type", file ? "text/javascript" : "text/html");
  response.end(file ? await readFile(file) : PAGE);
});
await new Promise((resolve) => server.listen(Number(port), "127.0.0.1", resolve));

// Only what the page asks for: nothing of the browser's own goes out.
const browser = await chromium.launchPersistentContext(profile, {
  executablePath,
  chromiumSandbox: false,
  args: [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
try {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${port}/`);
  const found = await page.evaluate(
    async ({ url, version, qos, name }) => {
      const { echo } = await import("/echo.js");
      return echo(url, version, qos, name).catch((error) => ({ error: String(error) }));
    },
    { url, version: Number(version), qos: Number(qos), name },
  );
  console.log(JSON.stringify(found));
} finally {
  await browser.close();
  server.close();
}
