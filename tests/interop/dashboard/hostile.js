// What clients and the network choose, and mean ill: it is shown as text, and as what it is.

import assert from "node:assert/strict";
import { test } from "node:test";

import { broker, pool, session } from "./mock.js";
import { shown, withPage } from "./page.js";

const MARKUP = `<img src=x onerror="document.title='broken'"><script>document.title='broken'</script>`;

/** Text, and how it is to be read. */
const TEXTS = {
  [MARKUP]: MARKUP,
  "a\u0000b\u001b[31mc\r\nd\u009be": "a\\u{0}b\\u{1b}[31mc\\u{d}\\u{a}d\\u{9b}e",
  // A right-to-left override would have this read as "kcik-rosnes".
  "sensor-\u202ekick": "sensor-\\u{202e}kick",
  "\u2066\u200bx\ufeff\u2028\u00ad": "\\u{2066}\\u{200b}x\\u{feff}\\u{2028}\\u{ad}",
  // Marks of direction, a filler that is a letter, a tag.
  "\u061c\u200e\u200fm\u3164n\u{e0041}\ufe0f": "\\u{61c}\\u{200e}\\u{200f}m\\u{3164}n\\u{e0041}\\u{fe0f}",
  "half \ud800 a pair": "half \\u{d800} a pair",
  "{{7*7}}${7*7}': \"--": "{{7*7}}${7*7}': \"--",
  "حساس-1 דוד": "حساس-1 דוד",
  "温度-🌡": "温度-🌡",
};

const isUnbroken = async (page) => {
  assert.equal(await page.locator("img, main script").count(), 0);
  assert.notEqual(await page.title(), "broken");
};

test("client IDs and usernames", () =>
  withPage(
    (mock) => {
      mock.pools = [pool([broker(1)])];
      for (const text of Object.keys(TEXTS)) {
        const hostile = session({
          client_id: text,
          username: text,
          client: text,
          upstream: "broker-1",
        });
        const found = [{ pool: "brokers", order: [], goes_to: "broker-1", sessions: [hostile] }];
        // Line ends cannot be typed into the box; they go, as in any browser.
        mock.routes[text.replace(/[\r\n]/g, "")] = { client_id: text, pools: found };
      }
    },
    async (page, mock) => {
      for (const [text, readable] of Object.entries(TEXTS)) {
        // As lone surrogates cannot be in a URL.
        if (text.includes("\ud800")) continue;
        await page
          .getByLabel("Client ID", { exact: true })
          .evaluate((input, value) => (input.value = value), text);
        await page.getByLabel("Client ID", { exact: true }).focus();
        await page.keyboard.press("Enter");
        const typed = readable.replace("\\u{d}\\u{a}", "");
        await page.locator(".headline", { hasText: typed }).waitFor();
        const username = page.locator(".sessions div", { hasText: "Username" }).locator("bdi");
        assert.equal(await username.innerText(), readable);
        await page.getByRole("button", { name: /^Kick/ }).click();
        assert.equal(await page.getByRole("dialog").locator("bdi").innerText(), typed);
        await page.keyboard.press("Escape");
        await isUnbroken(page);
      }
      await shown(page, mock);
    },
  ));

test("everything else that the API tells", () => {
  const texts = Object.keys(TEXTS);
  const readable = Object.values(TEXTS);
  return withPage(
    (mock) => {
      const broken = (text, index) =>
        broker(index, {
          name: text,
          address: text,
          resolved: text,
          status: text,
          state: text,
          connacks: { [text]: 2 },
          tries: { [text]: 3 },
        });
      mock.pools = texts.map((text, index) =>
        pool([broken(text, index)], { name: text, algorithm: text }),
      );
      mock.lines = texts.map((message, index) => ({
        seq: index + 1,
        time: new Date(),
        level: message,
        message,
      }));
      mock.status.listeners = texts.map((text) => ({
        ...mock.status.listeners[0],
        name: text,
        bind: text,
        transport: text,
        pool: text,
      }));
      mock.status.ends = texts.map((text) => ({ by: text, phase: text, cause: text, count: 1 }));
      mock.status.rejects = Object.fromEntries(texts.map((text) => [text, 1]));
      Object.assign(mock.status, { version: MARKUP, ready: false, not_ready: MARKUP });
      const last = { at: "2026-03-14T01:02:03Z", outcome: "refused", faults: texts };
      Object.assign(mock.status.config, { file: MARKUP, last_reload: last });
    },
    async (page) => {
      await page.locator(".warning li").last().waitFor();
      await page.locator("tbody.broker").last().waitFor();
      for (const more of await page.locator("button.name").all()) await more.click();
      const all = async (selector) =>
        (await page.locator(selector).allInnerTexts()).map((text) => text.trim());
      const expected = {
        ".pool > .heading bdi": readable,
        "button.name bdi": readable,
        ".broker .address": readable,
        ".broker .state": readable,
        ".detail [data-field=tries] th": readable,
        "#warnings li": readable,
        "#log-lines .message": readable,
        "#listeners th": readable,
        "#ends th": readable,
      };
      for (const [selector, texts] of Object.entries(expected)) {
        const shown = await all(selector);
        assert.deepEqual(shown.sort(), [...texts].sort(), selector);
      }
      await isUnbroken(page);
    },
  );
});
