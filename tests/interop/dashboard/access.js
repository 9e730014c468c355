// The token, and what is shown when the proxy does not answer.

import assert from "node:assert/strict";
import { test } from "node:test";

import { broker, pool } from "./mock.js";
import { becomes, hasText, mark, shown, tick, withPage } from "./page.js";

function two(mock) {
  mock.pools = [pool([broker(1), broker(2)])];
  mock.lines = [{ seq: 1, time: "2026-03-14T03:07:01Z", level: "INFO", message: "listening" }];
}

const stale = (page) => page.locator("[data-source].stale").count();

test("asks for the token once, and keeps it for the tab", () =>
  withPage(
    (mock) => {
      two(mock);
      mock.token = "s3cret";
    },
    async (page, mock) => {
      const dialog = page.getByRole("dialog", { name: "Admin token" });
      await dialog.waitFor();
      assert.equal(await page.getByRole("dialog").count(), 1);
      const enter = async (text) => {
        await dialog.getByLabel("Token").fill(text);
        await page.keyboard.press("Enter");
      };
      await enter("");
      await hasText(dialog.getByRole("alert"), "Enter the token.");
      await enter("wrong");
      await hasText(dialog.getByRole("alert"), "The token was refused.");
      await enter("with spaces");
      await hasText(dialog.getByRole("alert"), "A token is ASCII without spaces.");
      await enter(" s3cret ");
      await dialog.waitFor({ state: "detached" });
      await shown(page, mock);
      assert.equal(await stale(page), 0);
      await page.reload();
      await shown(page, mock);
      assert.equal(await page.getByRole("dialog").count(), 0);
      assert.deepEqual(await page.evaluate(() => Object.keys(localStorage)), []);

      await page.getByRole("button", { name: "Forget token" }).click();
      await dialog.waitFor();
      assert.equal(await page.evaluate(() => sessionStorage.length), 0);
    },
  ));

test("without a token nothing more is asked, until there is one", () =>
  withPage(
    (mock) => {
      two(mock);
      mock.token = "s3cret";
    },
    async (page, mock) => {
      await page.getByRole("dialog").waitFor();
      await page.keyboard.press("Escape");
      await page.getByText("This proxy requires its admin token;").waitFor();
      assert.equal(await page.title(), "token required – mqtt-lb");
      const before = { ...mock.answered };
      await page.clock.runFor(60_000);
      assert.deepEqual(mock.answered, before);
      await page.getByRole("button", { name: "Enter token…" }).click();
      await page.getByRole("textbox", { name: "Token" }).fill("s3cret");
      await page.keyboard.press("Enter");
      await shown(page, mock);
      await becomes(() => page.getByRole("button", { name: "Enter token…" }).count(), 0);
      await tick(page, mock);
    },
    { clock: true },
  ));

test("a token that was changed is asked for again", () =>
  withPage(
    (mock) => {
      two(mock);
      mock.token = "one";
    },
    async (page, mock) => {
      const dialog = page.getByRole("dialog", { name: "Admin token" });
      await dialog.getByLabel("Token").fill("one");
      await page.keyboard.press("Enter");
      await shown(page, mock);
      mock.token = "two";
      await dialog.getByText("The token was refused; it may have changed.").waitFor();
      assert.equal(await dialog.count(), 1);
      await dialog.getByLabel("Token").fill("two");
      await page.keyboard.press("Enter");
      await becomes(() => stale(page), 0);
    },
  ));

test("says since when the figures are old, asks ever more seldom, and comes back", () =>
  withPage(
    two,
    async (page, mock) => {
      await shown(page, mock);
      mock.faults["/api/v1"] = [503, { error: "worker 1 did not answer" }];
      const upstreams = () => mock.answered["/api/v1/upstreams"];
      const warning = page.getByRole("region", { name: "Warnings" }).locator(".words");
      const words = (next) =>
        "No response from the proxy: worker 1 did not answer. " +
        `Greyed values are as of 03:07:04 UTC. Next try at ${next} UTC.`;
      let asked = upstreams();
      await page.clock.runFor(2000);
      await hasText(warning, words("03:07:10"));
      assert.equal(await stale(page), 7);
      assert.equal(await page.title(), "no response – mqtt-lb");
      await hasText(page.getByRole("status"), "");
      // The next after 4 s, 8 s, 16 s, and from then on every 30 s.
      const times = ["03:07:18", "03:07:34", "03:08:04", "03:08:34", "03:09:04"];
      for (const [index, pause] of [4, 8, 16, 30, 30].entries()) {
        asked = upstreams();
        await page.clock.runFor(pause * 1000 - 1);
        assert.equal(upstreams(), asked);
        await page.clock.runFor(1);
        await hasText(warning, words(times[index]));
        assert.equal(upstreams(), asked + 1);
      }
      await hasText(page.getByRole("status"), "The proxy does not respond.");
      mock.faults = {};
      await page.getByRole("button", { name: "Try now" }).click();
      await becomes(() => warning.count(), 0);
      assert.equal(await stale(page), 0);
      await tick(page, mock);
      await hasText(page.getByRole("status"), "The proxy responds again.");
    },
    { clock: true },
  ));

test("greys only what is old", () =>
  withPage(two, async (page, mock) => {
    await shown(page, mock);
    mock.faults["/api/v1/upstreams"] = [503, { error: "worker 1 did not answer" }];
    await page.getByText("No current values for brokers: worker 1 did not answer.").waitFor();
    assert.deepEqual(await page.locator(".stale").evaluateAll((all) => all.map((one) => one.id)), [
      "pools",
    ]);
  }));

test("a proxy that has gone, and one whose answer cannot be read", () =>
  withPage(two, async (page, mock) => {
    await shown(page, mock);
    mock.faults["/api/v1"] = [200, undefined];
    await becomes(() => stale(page), 7);
    mock.faults = {};
    await becomes(() => stale(page), 0);
    await mock.stop();
    await page
      .getByText("No response from the proxy: cannot connect to its admin listener.")
      .waitFor();
    assert.equal(await stale(page), 7);
  }));

test("never two requests of one kind at once", () =>
  withPage(
    two,
    async (page, mock) => {
      await shown(page, mock);
      let open;
      mock.gate = new Promise((resolve) => (open = resolve));
      await page.clock.runFor(2000);
      await becomes(() => mock.atOnce["/api/v1/status"], 1);
      await page.clock.runFor(8000);
      mark(mock);
      mock.gate = undefined;
      open();
      await shown(page, mock);
      await tick(page, mock);
      assert.deepEqual(new Set(Object.values(mock.mostAtOnce)), new Set([1]));
    },
    { clock: true },
  ));

test("a hidden page asks nothing, and one that is seen again asks at once", () =>
  withPage(
    two,
    async (page, mock) => {
      await shown(page, mock);
      const hide = (isHidden) =>
        page.evaluate((hidden) => {
          Object.defineProperty(document, "hidden", { configurable: true, value: hidden });
          document.dispatchEvent(new Event("visibilitychange"));
        }, isHidden);
      await hide(true);
      const before = { ...mock.answered };
      await page.clock.runFor(60_000);
      assert.deepEqual(mock.answered, before);
      mock.status.version = "later";
      await hide(false);
      await hasText(page.locator("#version"), "later");
      await tick(page, mock);
    },
    { clock: true },
  ));

test("not ready, short of descriptors, lines dropped", () =>
  withPage(
    (mock) => {
      two(mock);
      Object.assign(mock.status, { ready: false, not_ready: "draining", access_log_dropped: 5 });
      Object.assign(mock.status.descriptors, { used: 16000 });
    },
    async (page, mock) => {
      await shown(page, mock);
      await hasText(page.locator("#readiness"), "Not ready: draining");
      await page.getByText("80 % of the descriptors are in use.").waitFor();
      await page.getByText("5 lines dropped since the start").waitFor();
      assert.equal(await page.title(), "not ready – mqtt-lb");
      mock.status.ready = true;
      delete mock.status.not_ready;
      mock.status.descriptors.used = 15000;
      await hasText(page.locator("#readiness"), "Ready");
      await hasText(page.getByRole("status"), "The proxy is ready.");
      await becomes(() => page.locator("#warnings .warning").count(), 0);
    },
  ));
