// CHROMIUM ORIGIN EXPECTED: against a real proxy, which `expected` (JSON) tells of: `token`, `file`
// (its configuration), `sessions` by broker, and a `client` with its `home` and its `second` choice.

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";

import { becomes, cell, hasText, names, withPageOf } from "./page.js";

const [, , , origin, json] = process.argv;
const { token, file, sessions, client, home, second } = JSON.parse(json);

const button = (scope, name) => scope.getByRole("button", { name, exact: true });

test("a broker is drained, a client found and kicked, the configuration reloaded", () =>
  withPageOf(origin, async (page) => {
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("textbox", { name: "Token" }).fill(token);
    await page.keyboard.press("Enter");
    await hasText(page.locator("#readiness"), "Ready");

    await becomes(() => names(page), Object.keys(sessions).sort());
    for (const [name, count] of Object.entries(sessions)) {
      await hasText(cell(page, name, "status"), "up");
      await hasText(cell(page, name, "sessions"), String(count));
    }
    const sum = Object.values(sessions).reduce((a, b) => a + b, 0);
    const version = page.locator("#versions tr", { hasText: "3.1.1" });
    await hasText(version.locator("td").first(), String(sum));

    await button(page, `Drain ${home}`).click();
    await dialog.getByText(new RegExp(`Its ${sessions[home]} session`)).waitFor();
    await dialog.getByText("2 other brokers of pool mqtt serve.").waitFor();
    await button(dialog, "Drain").click();
    await hasText(cell(page, home, "status"), "draining");
    await hasText(cell(page, home, "sessions"), String(sessions[home]));
    await page.locator("#log-lines .message", { hasText: "set by the operator" }).waitFor();

    await page.getByLabel("Client ID", { exact: true }).fill(client);
    await page.keyboard.press("Enter");
    const found = page.locator("#found");
    await found.getByText(`${client} has 1 session, on ${home}.`).waitFor();
    await found.getByText(`Its next CONNECT would go to ${second}.`).waitFor();
    assert.equal(await found.locator("ol.order li").first().innerText(), `${home} does not serve`);
    await button(found, `Kick ${client} from ${home}`).click();
    await button(dialog, "Kick").click();
    await found.getByText(`No session: no client ${client}`).waitFor();
    await hasText(cell(page, home, "sessions"), String(sessions[home] - 1));
    const end = page.locator("#ends tr", { hasText: "kicked" });
    await hasText(end, "proxy\trelay\tkicked\t1\t1");

    const reload = async () => {
      await button(page, "Reload…").click();
      await button(dialog, "Reload").click();
    };
    await reload();
    await dialog.getByText("No changes.").waitFor();
    await button(dialog, "Close").click();
    const good = await readFile(file, "utf8");
    await writeFile(file, good.replace('"pools"', '"pool"'));
    await reload();
    await page.getByRole("dialog", { name: "Reload refused" }).waitFor();
    const faults = await dialog.getByRole("listitem").allInnerTexts();
    assert.ok(
      faults.some((fault) => /:\d+:\d+: .*pool/.test(fault)),
      faults.join("\n"),
    );
    await button(dialog, "Close").click();
    await page.getByText(/^The reload at .* was refused/).waitFor();
    await writeFile(file, good);
    await reload();
    await button(dialog, "Close").click();
    await becomes(() => page.locator("#warnings .warning").count(), 0);
  }));
